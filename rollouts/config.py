"""What to record: the game, who plays it, and which seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..envs import DEFAULT_ENV, Game, make_env
from .policies import shares
from .shard import check_shard

# The first seed of each split; training never sees a seed of the other.
SPLITS = {"train": 0, "test": 1_000_000}
SEEDS_PER_SPLIT = 1_000_000


@dataclass(frozen=True, kw_only=True)
class CollectConfig:
    """What to record.

    Attributes:
        env: "toy", a ViZDoom id, or any Gymnasium id.
        frame_skip: how many tics of the game an action lasts, on top of what the id repeats by itself; 0 is the game's
            usual: 4 in ViZDoom, 1 elsewhere.
        frame_size: side of the frames in pixels.
        fit: how a picture becomes a square: "squash", "pad" or "crop"; empty is the game's usual.
        arguments: keyword arguments for a Gymnasium environment.
        actions: comma-separated action names, or a JSON file with a table; empty is the game's default set.
        policy: "explore", "sticky", "random", one of your own (see own_policy), or shares: "explore=0.7,random=0.3".
        split: "train" or "test".
        seed: the first episode's number within the split; the others follow. The policy uses it, too.
        shard_index, num_shards: record only every `num_shards`-th episode, from number `shard_index` on.
    """

    env: str = DEFAULT_ENV
    frame_skip: int = 0
    frame_size: int = 128
    fit: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    actions: str = ""
    policy: str = "explore"
    split: str = "train"
    seed: int = 0
    shard_index: int = 0
    num_shards: int = 1

    def __post_init__(self) -> None:
        shares(self.policy)
        if self.split not in SPLITS:
            raise ValueError(f"no split named {self.split!r} (splits: {', '.join(SPLITS)})")
        if not 0 <= self.seed < SEEDS_PER_SPLIT:
            raise ValueError(f"seed must be 0 to {SEEDS_PER_SPLIT - 1}, got {self.seed}")
        check_shard(self.shard_index, self.num_shards)

    @property
    def needs_process(self) -> bool:
        """Whether the game is to be recorded in a process of its own."""
        return self.env != "toy"

    def make_game(self, *, patience: float = 1.0, own_process: bool = True) -> Game:
        """Return a new game to record, in a process of its own or in this one."""
        actions = self.actions.split(",") if self.actions else None
        return make_env(
            self.env,
            frame_skip=self.frame_skip or None,
            frame_size=self.frame_size,
            actions=actions,
            fit=self.fit or None,
            arguments=self.arguments,
            patience=patience,
            own_process=own_process,
        )

    def episode_seed(self, index: int) -> int:
        """Return the seed of episode `index`.

        Raises:
            ValueError: if the split has no seed left for it.
        """
        if self.seed + index >= SEEDS_PER_SPLIT:
            raise ValueError(f"the split {self.split!r} ends at seed {SEEDS_PER_SPLIT - 1}; use a smaller --seed")
        return SPLITS[self.split] + self.seed + index
