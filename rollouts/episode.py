"""One recorded episode: `frames[t] --actions[t]--> frames[t+1]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

POSE = ("position_x", "position_y", "angle")  # the variables that tell where the camera is; the angle in degrees


@dataclass(frozen=True, kw_only=True)
class Episode:
    """T+1 frames and the T actions between them.

    Attributes:
        frames: uint8 (T+1, H, W, 3).
        actions: int64 (T,), indices into the data set's action names; `actions[t]` led from frame t to frame t+1.
        rewards: float32 (T,), of the same steps.
        terminated: the game ended by its own rules. The end itself is not recorded where it shows no frame.
        truncated: the game was cut off, by its time limit or by the recorder's.
        variables: name -> float64 (T+1,), for example position_x, position_y and angle (degrees).
        seed: what the game was reset with: settings, seed and actions reproduce every frame bit for bit.
    """

    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: bool
    truncated: bool
    variables: Mapping[str, np.ndarray]
    seed: int

    def __post_init__(self) -> None:
        count = len(self.frames)
        if self.frames.ndim != 4 or self.frames.dtype != np.uint8 or self.frames.shape[3] != 3 or not count:
            raise ValueError(f"frames must be uint8 (T+1, H, W, 3), got {self.frames.dtype} {self.frames.shape}")
        lengths = {"actions": len(self.actions) + 1, "rewards": len(self.rewards) + 1}
        lengths |= {name: len(values) for name, values in self.variables.items()}
        for name, length in lengths.items():
            if length != count:
                raise ValueError(f"{name} do not fit {count} frames")
