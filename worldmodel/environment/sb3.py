"""Imagined games as a Stable-Baselines3 `VecEnv`: one batched model step for all of them (extra `[rl]`)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from ..simulator import PRETRAINED, Simulator
from .imagined_games import GameSettings, ImaginedGames


class ImaginedVecEnv(VecEnv):
    """`num_envs` imagined games for an agent of Stable-Baselines3. Args are those of `ImaginedEnv`.

    What it shows are features, unless other observations are chosen.

    A game that ends begins anew in the same step: its `info` holds "terminal_observation", and "TimeLimit.truncated"
    where only the horizon ended it, so that no transition leads from one episode to the next.

    Raises:
        ValueError: for a checkpoint without heads, contexts that do not fit, or a setting that cannot be.
    """

    def __init__(
        self,
        num_envs: int,
        checkpoint: str | os.PathLike[str] | Simulator = PRETRAINED,
        contexts: Any = None,
        *,
        observation: str = "features",
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        self.render_mode = render_mode
        chosen = GameSettings(observation=observation, **settings)
        self.games = ImaginedGames.open(checkpoint, contexts, chosen, num=num_envs)
        super().__init__(num_envs, self.games.observation_space, self.games.action_space)
        self._actions = np.zeros(num_envs, dtype=np.int64)

    def reset(self) -> np.ndarray:
        """Begin an episode in every game, with the seeds of `seed` and the options of `set_options`, if there are."""
        chosen = [options.get("context") for options in self._options]
        self.games.begin(np.ones(self.num_envs, dtype=np.bool_), seeds=self._seeds, contexts=chosen)
        self.reset_infos = [self.games.info(i) for i in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return self.games.observe()

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions (b) of the next step."""
        self._actions = np.asarray(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Imagine one step of every game.

        Raises:
            ValueError: for an action outside the action space.
        """
        transition = self.games.advance(self._actions)
        observations, ended = self.games.observe(), transition.terminated | transition.truncated
        infos = [{**self.games.info(i), "TimeLimit.truncated": bool(transition.truncated[i])} for i in self._every()]
        if ended.any():
            for i in np.flatnonzero(ended).tolist():
                infos[i]["terminal_observation"] = observations[i].copy()
            self.games.begin(ended)
            for i in np.flatnonzero(ended).tolist():
                self.reset_infos[i] = self.games.info(i)
            observations = self.games.observe()
        return observations, transition.rewards.astype(np.float32), ended, infos

    def close(self) -> None:
        """Nothing to release."""

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return the newest frame of each game, uint8 (H W 3)."""
        return list(self.games.frames())

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute, the same for every game."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of all games together.

        Raises:
            ValueError: if it is meant for some of them.
        """
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError("the games share their attributes: set one of all of them or of none")
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method once; every game gets its result."""
        result = getattr(self, method_name)(*args, **kwargs)
        return [result] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Return that no game is wrapped by itself."""
        return [False] * len(list(self._get_indices(indices)))

    def _every(self) -> Iterable[int]:
        return range(self.num_envs)


class ShuffledActions(VecEnvWrapper):
    """A control: every action means another one, drawn anew at each step. What is learnt here was not learnt by acting.

    Args:
        venv: the games.
        seed: of the meanings.
    """

    def __init__(self, venv: VecEnv, *, seed: int) -> None:
        super().__init__(venv)
        self._rng = np.random.default_rng(seed)

    def reset(self) -> Any:
        """Begin an episode in every game."""
        return self.venv.reset()

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions (b) and do others."""
        count = int(self.action_space.n)  # type: ignore[attr-defined]
        meanings = np.stack([self._rng.permutation(count) for _ in range(self.num_envs)])
        self.venv.step_async(np.take_along_axis(meanings, np.asarray(actions)[:, None], axis=1)[:, 0])

    def step_wait(self) -> VecEnvStepReturn:
        """Return what the step brought."""
        return self.venv.step_wait()
