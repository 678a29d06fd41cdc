"""Any Gymnasium environment with rgb_array rendering, as a game."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from . import registry
from .choices import choices
from .game import Observation, Step
from .picture import FITS, fit_square, to_rgb

ATARI_FRAMES_PER_SECOND = 60.0  # of the console; ale_py says 30, whatever its frame skip is
VARIABLES = ("lives",)  # what Atari says beside its picture: a lost life ends no episode
USUAL_FRAMES_PER_SECOND = 30.0  # of an environment that does not say


class GymnasiumGame:
    """An environment seen through its rendering, fitted to a square.

    Args:
        env_id: Gymnasium's id, `module:Id`, or `path/to/file.py:Class`.
        frame_skip: how many times an action is repeated a step, on top of what the environment does by itself.
        frame_size: side of the frames.
        actions: names to choose from, or one name of a JSON table; None is all of them.
        fit: how the picture becomes a square: "squash" (nothing is lost), "pad" or "crop".
        arguments: keyword arguments for the environment.

    Attributes:
        observation: the environment's own, after the last reset or step.
        action_values: what each action is in the environment's action space.

    Raises:
        ValueError: if the environment cannot be made or drawn, its actions cannot be named, or it has no such action.
    """

    def __init__(
        self,
        env_id: str,
        *,
        frame_skip: int = 1,
        frame_size: int = 128,
        actions: Sequence[str] | None = None,
        fit: str = "squash",
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        if frame_skip < 1 or frame_size < 1:
            raise ValueError(f"frame skip and frame size must be at least 1, got {frame_skip} and {frame_size}")
        if fit not in FITS:
            raise ValueError(f"fit is {', '.join(FITS)}, got {fit!r}")
        arguments = dict(arguments or {})
        self._env = registry.make(env_id, arguments)
        self._env_id = env_id
        self.observation: Any = None
        self._is_atari = _is_atari(self._env)
        self._fit = fit
        self._frame_skip = frame_skip
        self._frame_size = frame_size
        try:
            table = choices(self._env, env_id, wanted=actions)
            own_skip = _own_frame_skip(self._env)
            self._env.reset(seed=0)
            first = self._picture()
        except Exception as error:
            self._env.close()
            raise error if isinstance(error, ValueError) else ValueError(f"{env_id}: {_said(error)}") from error
        self._screen = first.shape[:2]
        if (first == first[0, 0]).all():
            print(f"{env_id} draws one colour alone after a reset; look at it with worldmodel preview", file=sys.stderr)
        self.action_names = tuple(table)
        self.action_values = list(table.values())
        self.frames_per_second = _frames_per_second(self._env) / frame_skip
        self.settings: Mapping[str, Any] = {
            "env": env_id,
            "engine": _engine(self._env),
            "frame_size": frame_size,
            "frame_skip": frame_skip,
            "action_names": list(self.action_names),
            "fit": fit,
            "screen_size": list(self._screen),
            "own_frame_skip": own_skip,
            "arguments": arguments,
            "action_values": [_plain(value) for value in self.action_values],
        }

    def reset(self, seed: int) -> Observation:
        """Start the episode of `seed`."""
        self.observation, info = self._env.reset(seed=seed)
        return Observation(frame=self._frame(), variables=self._variables(info))

    def step(self, action: int) -> Step:
        """Repeat `action` `frame_skip` times, or until the episode ends."""
        total, terminated, truncated = 0.0, False, False
        for _ in range(self._frame_skip):
            self.observation, reward, terminated, truncated, info = self._env.step(self.action_values[action])
            total += float(reward)
            if terminated or truncated:
                break
        return Step(
            frame=self._frame(),
            reward=total,
            terminated=bool(terminated),
            truncated=bool(truncated),
            variables=self._variables(info),
        )

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _frame(self) -> np.ndarray:
        picture = self._picture()
        if picture.shape[:2] != self._screen:
            raise ValueError(f"{self._env_id} drew a picture of {picture.shape[:2]} pixels after one of {self._screen}")
        return fit_square(picture, self._frame_size, fit=self._fit)

    def _variables(self, info: Mapping[str, Any]) -> dict[str, float]:
        return {name: float(info[name]) for name in VARIABLES if self._is_atari and name in info}

    def _picture(self) -> np.ndarray:
        return to_rgb(self._env.render())


def _frames_per_second(env: gymnasium.Env[Any, Any]) -> float:
    """Return how many of the environment's own steps make a second of real time."""
    if _is_atari(env):
        return ATARI_FRAMES_PER_SECOND / _own_frame_skip(env)
    try:
        rate = float((env.metadata or {}).get("render_fps") or USUAL_FRAMES_PER_SECOND)
    except (TypeError, ValueError):
        return USUAL_FRAMES_PER_SECOND
    return rate if np.isfinite(rate) and rate > 0 else USUAL_FRAMES_PER_SECOND


def _own_frame_skip(env: gymnasium.Env[Any, Any]) -> int:
    """Return how many times the environment repeats an action by itself.

    Raises:
        ValueError: if it draws the number anew at every step, so that its frames have no rate.
    """
    for name in ("_frameskip", "frame_skip"):
        skip = getattr(env.unwrapped, name, 1)
        if isinstance(skip, tuple | list):
            low, high = skip
            raise ValueError(
                f"it repeats an action {low} to {high - 1} times, drawn anew at every step; "
                "choose a number: --env-set frameskip=4"
            )
        if isinstance(skip, int) and skip > 1:
            return skip
    return 1


def _is_atari(env: gymnasium.Env[Any, Any]) -> bool:
    return type(env.unwrapped).__module__.partition(".")[0] == "ale_py"


def _engine(env: gymnasium.Env[Any, Any]) -> str:
    if _is_atari(env):
        import ale_py

        return f"ale_py {ale_py.__version__}"
    return f"gymnasium {gymnasium.__version__}"


def _plain(value: Any) -> Any:
    """Return an action as a JSON value."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
