"""Any Gymnasium environment with a Discrete action space and rgb_array rendering, as a game."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from PIL import Image

from .game import Observation, Step


class GymnasiumGame:
    """An environment seen through its rendering: the largest centred square is cropped and resized to `frame_size`.

    Args:
        env_id: Gymnasium's id, for example "CartPole-v1".
        frame_skip: how many times an action is repeated a step.
        frame_size: side of the frames.
        actions: a subset of the action names; None is all of them.

    Raises:
        ValueError: if the environment cannot be made, has no rgb_array rendering, no Discrete action space, or no
            such action.
    """

    def __init__(
        self, env_id: str, *, frame_skip: int = 1, frame_size: int = 128, actions: Sequence[str] | None = None
    ) -> None:
        if frame_skip < 1 or frame_size < 1:
            raise ValueError(f"frame skip and frame size must be at least 1, got {frame_skip} and {frame_size}")
        self._env = _make(env_id)
        meanings = _action_names(self._env)
        unknown = [name for name in actions or () if name not in meanings]
        if unknown:
            raise ValueError(f"no action named {unknown[0]!r} ({env_id} knows: {', '.join(meanings)})")
        self.action_names = tuple(actions or meanings)
        first = int(getattr(self._env.action_space, "start", 0))
        self._actions = [first + meanings.index(name) for name in self.action_names]
        self._frame_skip = frame_skip
        self._frame_size = frame_size
        self.frames_per_second = float(self._env.metadata.get("render_fps") or 30) / frame_skip
        self.settings: Mapping[str, Any] = {
            "env": env_id,
            "engine": f"gymnasium {gymnasium.__version__}",
            "frame_size": frame_size,
            "frame_skip": frame_skip,
            "action_names": list(self.action_names),
        }

    def reset(self, seed: int) -> Observation:
        """Start the episode of `seed`."""
        self._env.reset(seed=seed)
        return Observation(frame=self._frame())

    def step(self, action: int) -> Step:
        """Repeat `action` `frame_skip` times, or until the episode ends."""
        total, terminated, truncated = 0.0, False, False
        for _ in range(self._frame_skip):
            _, reward, terminated, truncated, _ = self._env.step(self._actions[action])
            total += float(reward)
            if terminated or truncated:
                break
        return Step(frame=self._frame(), reward=total, terminated=bool(terminated), truncated=bool(truncated))

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _frame(self) -> np.ndarray:
        return square(np.asarray(self._env.render()), self._frame_size)


def square(picture: np.ndarray, size: int) -> np.ndarray:
    """Return the largest centred square of a uint8 (H, W, 3) picture, resized to uint8 (size, size, 3)."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BOX, box=box))


def _make(env_id: str) -> gymnasium.Env[Any, Any]:
    try:
        env: gymnasium.Env[Any, Any] = gymnasium.make(env_id, render_mode="rgb_array")
    except (gymnasium.error.Error, ImportError) as error:
        raise ValueError(f"cannot make {env_id}: {error}") from error
    if not isinstance(env.action_space, gymnasium.spaces.Discrete):
        env.close()
        raise ValueError(f"{env_id} has the action space {env.action_space}; only Discrete ones can be recorded")
    return env


def _action_names(env: gymnasium.Env[Any, Any]) -> tuple[str, ...]:
    meanings = getattr(env.unwrapped, "get_action_meanings", None)
    if meanings is not None:
        return tuple(str(name).lower() for name in meanings())
    assert isinstance(env.action_space, gymnasium.spaces.Discrete)
    return tuple(f"action_{index}" for index in range(int(env.action_space.n)))
