"""Imagined games in one batch: their contexts, random streams, horizons and observations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from ..checkpoints import gallery
from ..imagination.sources import check_actions, check_fit, translate
from ..rollouts import EpisodeDataset
from ..runtime import bfloat16_is_fast, default_device, keep_freed_memory, limited_threads
from ..simulator import ImaginedStep, Simulator
from .observation import Observer

MAX_CONTEXTS = 512  # whose codes are kept
GAMES_FOR_THREADS = 8  # fewer are quicker in one thread: their products are too small to be shared


@dataclass(frozen=True, kw_only=True)
class GameSettings:
    """How games are imagined: the keyword arguments that all forms of the environment take.

    Raises:
        ValueError: for a value that cannot be.
    """

    horizon: int = 100  # steps after which an episode is truncated
    observation: str = "frames"  # or "codes", "features": see `observation.Observer`
    context_frames: int = 4  # real frames that an episode begins with, where contexts are a data set
    threshold: float | None = None  # None draws the end of an episode; a number ends it where it is likelier than that
    temperature: float = 1.0  # of sampling; a `Simulator` that is given has its own
    use_map: bool = False  # imagine with the checkpoint's learned map, if it has one: a third slower

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ValueError(f"horizon must be at least 1 step, got {self.horizon}")
        if self.context_frames < 1:
            raise ValueError(f"context_frames must be at least 1, got {self.context_frames}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be None or 0 to 1, got {self.threshold}")


@dataclass(frozen=True)
class Transition:
    """What a step of every game brought."""

    rewards: np.ndarray  # float64 (b)
    terminated: np.ndarray  # bool (b)
    truncated: np.ndarray  # bool (b)

    def parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return rewards, terminated and truncated."""
        return self.rewards, self.terminated, self.truncated


class Contexts:
    """The real beginnings of episodes: the first frames of a data set's, or given ones.

    Raises:
        ValueError: if there is none, or one does not fit the simulator.
    """

    def __init__(self, source: Any, simulator: Simulator, *, num_frames: int) -> None:
        self.simulator, self.num_frames = simulator, num_frames
        self._codes: dict[int, tuple[Tensor, Tensor]] = {}
        self._dataset: EpisodeDataset | None = None
        if isinstance(source, str | os.PathLike):
            self._dataset = EpisodeDataset(source)  # type: ignore[arg-type]
            check_fit(self._dataset.info.settings, simulator, str(source))
            check_actions(self._dataset.info.action_names, simulator.action_names, str(source))
            long_enough = np.flatnonzero(self._dataset.lengths > num_frames)
            if not len(long_enough):
                longest = int(self._dataset.lengths.max(initial=0))
                raise ValueError(
                    f"{source}: no episode goes on after a context of {num_frames} frames; the longest has {longest}"
                )
            self._numbers = long_enough
        else:
            self._given = list(source)
            if not self._given:
                raise ValueError("contexts must hold at least one (frames, actions)")
            self._numbers = np.arange(len(self._given))

    def __len__(self) -> int:
        return len(self._numbers)

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return any of them: codes (t h w) and the actions between them (t-1)."""
        return self[int(rng.integers(len(self)))]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one by its number."""
        if not 0 <= index < len(self):
            raise ValueError(f"there are contexts 0 to {len(self) - 1}, got {index}")
        if index not in self._codes:
            if len(self._codes) >= MAX_CONTEXTS:
                self._codes.clear()
            self._codes[index] = self.encode(*self._read(int(self._numbers[index])))
        return self._codes[index]

    def encode(self, frames: Any, actions: Any) -> tuple[Tensor, Tensor]:
        """Return given frames uint8 (t H W 3) and actions (t-1) as codes and actions.

        Raises:
            ValueError: if they do not fit each other or the simulator.
        """
        frames, actions = np.asarray(frames), np.asarray(actions, dtype=np.int64)
        size = self.simulator.frame_size
        if frames.ndim != 4 or not len(frames) or frames.shape[1:] != (size, size, 3) or frames.dtype != np.uint8:
            raise ValueError(
                f"a context needs at least one frame, uint8 (t, {size}, {size}, 3), got {frames.dtype} {frames.shape}"
            )
        if actions.shape != (len(frames) - 1,):
            raise ValueError(f"a context of {len(frames)} frames has {len(frames) - 1} actions, got {actions.shape}")
        return self.simulator.encode(frames[None])[0], torch.from_numpy(actions)

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        if self._dataset is None:
            frames, actions = self._given[number]
            return frames, actions
        names = self._dataset.info.action_names
        actions = translate(self._dataset.actions(number)[: self.num_frames - 1], names, self.simulator.action_names)
        return self._dataset.frames(number, 0, self.num_frames), actions


class ImaginedGames:
    """A batch of games. Each draws its contexts, codes, rewards and ends from random streams of its own."""

    def __init__(
        self,
        simulator: Simulator,
        contexts: Contexts,
        settings: GameSettings,
        *,
        num: int,
    ) -> None:
        if not simulator.has_outcome:
            raise ValueError("this checkpoint has no reward and end heads: train its dynamics with this version")
        if num < 1:
            raise ValueError(f"there must be at least 1 game, got {num}")
        keep_freed_memory()  # a step of many games takes megabytes a hundred times
        self.simulator, self.contexts, self.settings, self.num = simulator, contexts, settings, num
        self.observer = Observer(simulator.tokenizer, settings.observation)
        self.observation_space = self.observer.space
        self.action_space = spaces.Discrete(len(simulator.action_names))
        self._rngs = [np.random.default_rng() for _ in range(num)]
        self._seeded = np.zeros(num, dtype=np.bool_)
        self._steps = np.zeros(num, dtype=np.int64)
        self._running = np.zeros(num, dtype=np.bool_)
        self._codes: Tensor | None = None  # (b h w), of the newest frames
        self._last: ImaginedStep | None = None

    @classmethod
    def open(
        cls,
        checkpoint: str | os.PathLike[str] | Simulator,
        contexts: Any = None,
        settings: GameSettings | None = None,
        *,
        num: int,
    ) -> ImaginedGames:
        """Return the games of a checkpoint.

        Args:
            checkpoint: a dynamics checkpoint with reward and end heads, by its directory or its name in the gallery,
                or a `Simulator` that has them.
            contexts: where episodes begin: a data set directory, whose episodes' first frames are the contexts, or a
                sequence of (frames uint8 (t H W 3), actions (t-1)). None takes the held-out episodes that come
                with a checkpoint of the gallery.
            settings: how they are imagined.
            num: how many games.

        Raises:
            ValueError: for a checkpoint without heads, or contexts that do not fit.
        """
        settings = settings or GameSettings()
        if isinstance(checkpoint, Simulator):
            simulator = checkpoint.fork()  # other games of the same simulator have a state of their own
        else:
            simulator = Simulator.from_pretrained(
                checkpoint, use_map=settings.use_map, temperature=settings.temperature, engine=batch_engine()
            )
        if not simulator.has_outcome:
            raise ValueError(f"{checkpoint} has no reward and end heads: train its dynamics with this version")
        if contexts is None:
            named = gallery.DEFAULT if isinstance(checkpoint, Simulator) else checkpoint
            contexts = gallery.own_episodes(named)
        found = Contexts(contexts, simulator, num_frames=settings.context_frames)
        return cls(simulator, found, settings, num=num)

    def begin(
        self,
        mask: np.ndarray,
        *,
        seeds: Sequence[int | None] | None = None,
        contexts: Sequence[Any] | None = None,
    ) -> None:
        """Begin episodes in the games of a mask, bool (b).

        Args:
            seeds: one for each game, whose streams begin there; None lets them go on (the first ones are random).
            contexts: one for each game, a number or (frames, actions); None draws them.
        """
        rows = np.flatnonzero(mask).tolist()
        for i in rows:
            seed = None if seeds is None else seeds[i]
            if seed is not None or not self._seeded[i]:
                self._seed(i, seed)
        chosen = [self._context(i, None if contexts is None else contexts[i]) for i in rows]
        if self._codes is None:
            if len(rows) < self.num:
                raise ValueError("the first reset has to be one of all games")
            self._begin_all(chosen)
        else:
            self._begin_rows(rows, chosen)
        self._steps[mask], self._running[mask] = 0, True

    def advance(self, actions: np.ndarray, *, pause: np.ndarray | None = None) -> Transition:
        """Imagine one step of every game under actions (b); games of `pause`, bool (b), stand still.

        Raises:
            ValueError: for an action outside 0..n-1, or a game that has not begun or has ended.
        """
        active = np.ones(self.num, dtype=np.bool_) if pause is None else ~pause
        actions = np.asarray(actions)
        count = int(self.action_space.n)
        if actions.shape != (self.num,) or not np.issubdtype(actions.dtype, np.integer):
            raise ValueError(f"actions must be {self.num} integers, got {actions.dtype} {actions.shape}")
        if (active & ((actions < 0) | (actions >= count))).any():
            raise ValueError(f"actions must be in 0..{count - 1}, got {actions.tolist()}")
        if (active & ~self._running).any():
            raise ValueError("an episode has to begin before a step: call reset first")
        if not active.any():
            nothing = np.zeros(self.num, dtype=np.bool_)
            return Transition(np.zeros(self.num), nothing, nothing.copy())
        chosen = np.where(active, actions, 0).astype(np.int64)
        with limited_threads(1 if self.num < GAMES_FOR_THREADS else None):
            step = self.simulator.step_outcome(chosen, rows=active, threshold=self.settings.threshold)
        self._codes, self._last = step.codes, step
        self._steps += active
        terminated = step.terminated.cpu().numpy() & active
        truncated = (self._steps >= self.settings.horizon) & active & ~terminated
        self._running &= ~(terminated | truncated)
        rewards = np.where(active, step.reward.cpu().numpy().astype(np.float64), 0.0)
        return Transition(rewards, terminated, truncated)

    def observe(self) -> np.ndarray:
        """Return what each game shows (b ...)."""
        assert self._codes is not None
        return self.observer.of_codes(self._codes)

    def frames(self) -> np.ndarray:
        """Return the newest frame of each game, uint8 (b H W 3)."""
        if self._codes is None:
            raise ValueError("an episode has to begin before it can be drawn: call reset first")
        return self.simulator.decode(self._codes.unsqueeze(1))[:, 0]

    def info(self, i: int) -> dict[str, Any]:
        """Return the codes of game i and what the model says of its last step; nothing imagined has 0 nats."""
        assert self._codes is not None
        info: dict[str, Any] = {"codes": self._codes[i].cpu().numpy().copy()}
        imagined = self._last is not None and self._steps[i] > 0
        for name in ("nats", "expected_reward", "end_probability"):
            info[name] = float(getattr(self._last, name)[i]) if imagined else 0.0
        return info

    def _seed(self, i: int, seed: int | None) -> None:
        sequence = np.random.SeedSequence(seed)
        self._rngs[i] = np.random.default_rng(sequence)
        self.simulator.seed_rows({i: int(sequence.generate_state(1, np.uint64)[0])}, batch=self.num)
        self._seeded[i] = True

    def _context(self, i: int, chosen: Any) -> tuple[Tensor, Tensor]:
        if chosen is None:
            return self.contexts.draw(self._rngs[i])
        return self.contexts[int(chosen)] if isinstance(chosen, int | np.integer) else self.contexts.encode(*chosen)

    def _begin_all(self, contexts: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Begin every game; contexts of other lengths than the first are taken in one by one."""
        length = len(contexts[0][0])
        same = [context if len(context[0]) == length else contexts[0] for context in contexts]
        codes, actions = (torch.stack(part) for part in zip(*same, strict=True))
        self.simulator.reset_codes(codes, actions)
        self._codes = codes[:, -1].clone()
        others = [i for i, context in enumerate(contexts) if len(context[0]) != length]
        self._begin_rows(others, [contexts[i] for i in others])

    def _begin_rows(self, rows: Sequence[int], contexts: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Begin some games anew: those whose contexts are equally long at once."""
        assert self._codes is not None
        self._codes = self._codes.clone()
        lengths = [len(codes) for codes, _ in contexts]
        for length in sorted(set(lengths)):
            at = [i for i, each in enumerate(lengths) if each == length]
            codes, actions = (torch.stack(part) for part in zip(*(contexts[i] for i in at), strict=True))
            here = torch.tensor([rows[i] for i in at])
            self.simulator.reset_rows(here, codes, actions)
            self._codes[here] = codes[:, -1]


def batch_engine() -> str:
    """Return the engine that draws the codes of many games quickest here: one for any number of games.

    A game's codes are those of its seed for one engine; another engine's arithmetic gives others, now and then.
    """
    return "numpy-bfloat16" if default_device().type == "cpu" and bfloat16_is_fast("cpu") else "auto"
