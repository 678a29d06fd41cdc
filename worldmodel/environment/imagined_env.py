"""The world model as a Gymnasium environment: one imagined game, or many that share one batched model step.

`gymnasium.make("worldmodel/Imagined-v0", checkpoint=..., contexts=...)` gives an `ImaginedEnv`, and
`gymnasium.make_vec(..., vectorization_mode="vector_entry_point")` an `ImaginedVectorEnv`. Gymnasium knows the id once
it is imported and then `worldmodel`; where the order is not known, "worldmodel.environment:worldmodel/Imagined-v0" is.
An episode begins with a real context and ends when the end head says so (terminated) or at the horizon (truncated).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from ..simulator import PRETRAINED, Simulator
from .imagined_games import GameSettings, ImaginedGames, Transition


def _check_render_mode(render_mode: str | None) -> None:
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")


class ImaginedEnv(gymnasium.Env[np.ndarray, np.int64]):
    """One imagined game.

    Args:
        checkpoint, contexts: see `ImaginedGames.open`.
        render_mode: "rgb_array" or None.
        settings: the fields of `GameSettings`.

    `info` holds "codes" (h w), "nats" of the sampled codes, "expected_reward" and "end_probability".

    Raises:
        ValueError: for a checkpoint without heads, contexts that do not fit, or a setting that cannot be.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - Gymnasium's own form

    def __init__(
        self,
        checkpoint: str | os.PathLike[str] | Simulator = PRETRAINED,
        contexts: Any = None,
        *,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        _check_render_mode(render_mode)
        self.games = ImaginedGames.open(checkpoint, contexts, GameSettings(**settings), num=1)
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": self.games.simulator.frames_per_second}
        self.observation_space, self.action_space = self.games.observation_space, self.games.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode. `options={"context": ...}` takes a context by its number, or as (frames, actions)."""
        super().reset(seed=seed)
        chosen = (options or {}).get("context")
        self.games.begin(np.array([True]), seeds=[seed], contexts=None if chosen is None else [chosen])
        return self.games.observe()[0], self.games.info(0)

    def step(self, action: np.int64 | int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Imagine one step.

        Raises:
            ValueError: for an action outside the action space, or after the end of an episode.
        """
        transition = self.games.advance(np.array([action]))
        return (
            self.games.observe()[0],
            float(transition.rewards[0]),
            bool(transition.terminated[0]),
            bool(transition.truncated[0]),
            self.games.info(0),
        )

    def render(self) -> np.ndarray | None:
        """Return the newest frame, uint8 (H W 3)."""
        return self.games.frames()[0] if self.render_mode == "rgb_array" else None


class ImaginedVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Many imagined games, with one batched model step for all of them.

    Args are those of `ImaginedEnv`, and

        num_envs: how many games.
        autoreset_mode: what happens after an episode's end, see `gymnasium.vector.AutoresetMode`. The imagined episodes
            are the same in all three modes.

    Game i depends on its own seed only: not on how many games there are, nor on what the others do.
    """

    def __init__(
        self,
        num_envs: int = 1,
        checkpoint: str | os.PathLike[str] | Simulator = PRETRAINED,
        contexts: Any = None,
        *,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **settings: Any,
    ) -> None:
        _check_render_mode(render_mode)
        self.games = ImaginedGames.open(checkpoint, contexts, GameSettings(**settings), num=num_envs)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.single_observation_space, self.single_action_space = (
            self.games.observation_space,
            self.games.action_space,
        )
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": self.games.simulator.frames_per_second,
            "autoreset_mode": self.autoreset_mode,
        }
        self._ended = np.zeros(num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin episodes: in all games, or in those of `options["reset_mask"]`, bool (num_envs).

        Args:
            seed: of the first game, the next ones follow; or one each.
            options: "context" takes one context for all, by its number or as (frames, actions).
        """
        options = options or {}
        mask = _checked_mask(options.get("reset_mask"), self.num_envs)
        seeds = _seeds(seed, self.num_envs)
        chosen = options.get("context")
        self.games.begin(mask, seeds=seeds, contexts=None if chosen is None else [chosen] * self.num_envs)
        self._ended[mask] = False
        return self.games.observe(), self._infos(mask)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Imagine one step of every game; see Gymnasium on what the autoreset mode makes of an end.

        Raises:
            ValueError: for an action outside the action space; with AutoresetMode.DISABLED, if a game that has ended
                was not reset.
        """
        if self.autoreset_mode is AutoresetMode.DISABLED and self._ended.any():
            numbers = np.flatnonzero(self._ended).tolist()
            raise ValueError(f"games {numbers} have ended: reset them first, with options={{'reset_mask': ...}}")
        begin = self._ended.copy()  # NEXT_STEP: these begin anew in place of a step
        transition = self.games.advance(np.asarray(actions), pause=begin)
        if begin.any():
            self.games.begin(begin)
        self._ended = transition.terminated | transition.truncated
        if self.autoreset_mode is AutoresetMode.SAME_STEP and self._ended.any():
            return self._begin_at_once(transition)
        return self.games.observe(), *transition.parts(), self._infos(np.ones(self.num_envs, np.bool_))

    def _begin_at_once(
        self, transition: Transition
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Keep the last observations of the games that ended, and begin them anew in the same step."""
        ended, last = self._ended.copy(), self.games.observe()
        final: dict[str, Any] = {}
        for i in np.flatnonzero(ended).tolist():
            final = self._add_info(final, {"final_obs": last[i], "final_info": self.games.info(i)}, i)
        self.games.begin(ended)
        self._ended[:] = False
        return self.games.observe(), *transition.parts(), self._infos(np.ones(self.num_envs, np.bool_)) | final

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return the newest frame of each game, uint8 (H W 3)."""
        return tuple(self.games.frames()) if self.render_mode == "rgb_array" else None

    def _infos(self, mask: np.ndarray) -> dict[str, Any]:
        infos: dict[str, Any] = {}
        for i in np.flatnonzero(mask):
            infos = self._add_info(infos, self.games.info(int(i)), int(i))
        return infos


def _checked_mask(mask: Any, num: int) -> np.ndarray:
    if mask is None:
        return np.ones(num, dtype=np.bool_)
    if not isinstance(mask, np.ndarray) or mask.shape != (num,) or mask.dtype != np.bool_ or not mask.any():
        raise ValueError(f"reset_mask must be a bool array of shape ({num},) with at least one True, got {mask!r}")
    return mask


def _seeds(seed: int | Sequence[int | None] | None, num: int) -> list[int | None]:
    if seed is None:
        return [None] * num
    if isinstance(seed, int | np.integer):
        return [int(seed) + i for i in range(num)]
    if len(seed) != num:
        raise ValueError(f"{num} games need as many seeds, got {len(seed)}")
    return list(seed)
