"""The real game as a Gymnasium environment that shows what an agent trained in imagination is used to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np

from ..envs import Game, GameDiedError, remake_env
from .agents import translated
from .observation import Observer


class RealGameEnv(gymnasium.Env[np.ndarray, np.int64]):
    """A game, seen through the tokenizer.

    The agent takes over where it does in imagination, at the last frame of a context: the steps before are played at
    random, by the seed of the reset, and their rewards do not count.

    Args:
        settings: of the game, as a data set of it has them.
        observer: what the agent sees of a frame.
        action_names: the agent's actions.
        context_frames: how many frames a context has; 1 lets the agent take over at once.
        seeds: the seeds (first, number) of resets that are given none.

    Raises:
        ValueError: if the game cannot be made here or lacks an action.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own form

    def __init__(
        self,
        settings: Mapping[str, Any],
        observer: Observer,
        *,
        action_names: Sequence[str],
        context_frames: int,
        seeds: tuple[int, int] = (0, 1_000_000),
    ) -> None:
        self.settings = settings
        self.game: Game = remake_env(settings)
        self._has_died = False
        self.observer, self.context_frames, self.seeds = observer, context_frames, seeds
        self._actions = translated(action_names, self.game.action_names)
        self.observation_space = observer.space
        self.action_space = gymnasium.spaces.Discrete(len(action_names))
        self._frame: np.ndarray | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a game and play it up to where the agent takes over. `options={"game_seed": n}` names the game."""
        super().reset(seed=seed)
        first, number = self.seeds
        named = (options or {}).get("game_seed")
        game_seed = first + int(self.np_random.integers(number)) if named is None else int(named)
        if self._has_died:
            self.game.close()
            self.game, self._has_died = remake_env(self.settings), False
        with self._noticing_death():
            while not self._lead_in(game_seed):
                game_seed += 1  # it ended before the agent could take over
        return self._observe(), {"game_seed": game_seed}

    def step(self, action: np.int64 | int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Do one of the agent's actions. Where the game shows no last frame, the one before is shown again.

        Raises:
            GameDiedError: if the game's process died; the next reset starts another.
        """
        with self._noticing_death():
            step = self.game.step(self._actions[int(action)])
        if step.frame is not None:
            self._frame = step.frame
        return self._observe(), float(step.reward), step.terminated, step.truncated, {}

    def close(self) -> None:
        """Close the game."""
        self.game.close()

    @contextmanager
    def _noticing_death(self) -> Iterator[None]:
        try:
            yield
        except GameDiedError:
            self._has_died = True
            raise

    def _lead_in(self, game_seed: int) -> bool:
        """Play the context; return whether the game still goes on."""
        self._frame = self.game.reset(game_seed).frame
        rng = np.random.default_rng([game_seed, 1])
        for _ in range(self.context_frames - 1):
            step = self.game.step(self._actions[int(rng.integers(len(self._actions)))])
            if step.terminated or step.truncated or step.frame is None:
                return False
            self._frame = step.frame
        return True

    def _observe(self) -> np.ndarray:
        assert self._frame is not None
        observation: np.ndarray = self.observer.of_frames(self._frame[None])[0]
        return observation
