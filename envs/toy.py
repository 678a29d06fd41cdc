"""A small deterministic game without an engine: a painted ring around the player, who turns and walks.

The player stands in the middle of a closed band of random tiles. `left` and `right` move the whole view by exactly
`SHIFT` columns, `forward` makes the bands of the floor move down by `SHIFT` rows: an action that were paired with
the wrong frame shows at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .game import Observation, Step

ACTIONS = ("noop", "forward", "left", "right")
PERIOD = 4  # frame widths around the ring
VERSION = 1


class ToyGame:
    """The toy world. `angle` is in degrees, `position_x` and `position_y` in 128ths of a frame's width.

    Args:
        frame_skip: how many times an action is repeated a step.
        frame_size: side of the frames, a multiple of 16.
        max_steps: after this many steps the episode is truncated.
        actions: names among noop, forward, left and right; None is all of them.

    Raises:
        ValueError: for a size, a length or an action that cannot be.
    """

    def __init__(
        self,
        *,
        frame_skip: int = 1,
        frame_size: int = 128,
        max_steps: int = 100,
        actions: Sequence[str] | None = None,
    ) -> None:
        if frame_size % 16 or frame_size < 16:
            raise ValueError(f"the toy world's frame size is a multiple of 16, got {frame_size}")
        if frame_skip < 1 or max_steps < 1:
            raise ValueError(f"frame skip and steps must be at least 1, got {frame_skip} and {max_steps}")
        unknown = [name for name in actions or () if name not in ACTIONS]
        if unknown:
            raise ValueError(f"no action named {unknown[0]!r} (the toy world knows: {', '.join(ACTIONS)})")
        self.action_names = tuple(actions or ACTIONS)
        self.frames_per_second = 8.0
        self.shift = frame_size // 16 * frame_skip
        self._frame_size = frame_size
        self._max_steps = max_steps
        self.settings: Mapping[str, Any] = {
            "env": "toy",
            "engine": f"toy {VERSION}",
            "frame_size": frame_size,
            "frame_skip": frame_skip,
            "max_steps": max_steps,
            "action_names": list(self.action_names),
        }

    def reset(self, seed: int) -> Observation:
        """Paint the ring and the floor of `seed` and look straight ahead."""
        rng = np.random.default_rng(seed)
        tile, half = self._frame_size // 16, self._frame_size // 2
        self._wall = _tiles(rng, half // tile, 16 * PERIOD, tile)
        self._floor = _tiles(rng, 16, 1, tile).repeat(self._frame_size, axis=1)
        self._column = int(rng.integers(self._wall.shape[1]))
        self._row = 0
        self._steps = 0
        return Observation(frame=self._frame(), variables=self._variables())

    def step(self, action: int) -> Step:
        """Turn (the wall moves sideways) or walk (the floor moves down)."""
        name = self.action_names[action]
        if name in ("left", "right"):
            self._column += -self.shift if name == "left" else self.shift
        elif name == "forward":
            self._row += self.shift
        self._steps += 1
        return Step(
            frame=self._frame(),
            reward=float(name == "forward"),
            terminated=False,
            truncated=self._steps >= self._max_steps,
            variables=self._variables(),
        )

    def close(self) -> None:
        """Nothing to release."""

    def _frame(self) -> np.ndarray:
        columns = (self._column + np.arange(self._frame_size)) % self._wall.shape[1]
        rows = (np.arange(self._frame_size // 2) - self._row) % self._floor.shape[0]
        return np.concatenate([self._wall[:, columns], self._floor[rows, : self._frame_size]])

    def _variables(self) -> dict[str, float]:
        walked = 128 * self._row / self._frame_size
        turned = -360 * self._column / self._wall.shape[1] % 360
        return {"position_x": 0.0, "position_y": walked, "angle": turned}


def _tiles(rng: np.random.Generator, rows: int, columns: int, tile: int) -> np.ndarray:
    """Return rows x columns tiles of random colours, uint8 (rows * tile, columns * tile, 3)."""
    colours = rng.integers(30, 226, (rows, columns, 3), dtype=np.uint8)
    return colours.repeat(tile, axis=0).repeat(tile, axis=1)
