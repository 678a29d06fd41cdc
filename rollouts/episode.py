"""One recorded episode: `frames[t] --actions[t]--> frames[t+1]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

POSE = ("position_x", "position_y", "angle")  # the variables that tell where the camera is; the angle in degrees


def check_pose(variables: Mapping[str, np.ndarray], *, first: int = 0) -> None:
    """Raise ValueError if the camera is nowhere in a frame: NaN or infinite. The frames are numbered from `first`."""
    for name in POSE:
        unknown = np.flatnonzero(~np.isfinite(variables.get(name, 0.0)))
        if len(unknown):
            raise ValueError(f"{name} is not finite in frame {first + unknown[0]}")


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What an episode's N steps did: step t is the action after frame t; the last one may lead to no frame.

    Attributes:
        actions: int64 (N,), indices into the data set's action names.
        rewards: float32 (N,).
        terminated: bool (N,), true at most at the last step.
        truncated: bool (N,), true at most at the last step.
    """

    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray

    @classmethod
    def join(cls, actions: np.ndarray, rewards: np.ndarray, *, terminated: bool, truncated: bool) -> Steps:
        """Return the steps with these actions and rewards, the last of which ended the episode, or did not."""
        is_last = np.arange(len(actions)) == len(actions) - 1
        return cls(
            actions=actions.astype(np.int64),
            rewards=rewards.astype(np.float32),
            terminated=is_last & terminated,
            truncated=is_last & truncated,
        )


@dataclass(frozen=True, kw_only=True)
class Episode:
    """T+1 frames, the T actions between them, and how it ended.

    Step t is (frame t, action t) -> (frame t+1, reward t, terminated t). A game may end without showing a last frame
    (ViZDoom does): then there is one step more than there are actions, the final one, which leads to no frame.
    `steps` has them all.

    Attributes:
        frames: uint8 (T+1, H, W, 3).
        actions: int64 (T,), indices into the data set's action names; `actions[t]` led from frame t to frame t+1.
        rewards: float32 (T,), of the same steps.
        terminated: the game ended by its own rules, in the last of `steps`.
        truncated: the game was cut off, by its time limit or by the recorder's.
        variables: name -> float64 (T+1,), for example position_x, position_y and angle (degrees).
        seed: what the game was reset with: settings, seed and actions reproduce every frame bit for bit.
        final_action: done after the last frame, where the game ended without showing another; else None.
        final_reward: of the final action.
        is_complete: whether the step that ended the game is among `steps`. It is not in data sets of ViZDoom that were
            recorded before there were final actions.
    """

    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: bool
    truncated: bool
    variables: Mapping[str, np.ndarray]
    seed: int
    final_action: int | None = None
    final_reward: float = 0.0
    is_complete: bool = True

    def __post_init__(self) -> None:
        count = len(self.frames)
        if self.frames.ndim != 4 or self.frames.dtype != np.uint8 or self.frames.shape[3] != 3 or not count:
            raise ValueError(f"frames must be uint8 (T+1, H, W, 3), got {self.frames.dtype} {self.frames.shape}")
        lengths = {"actions": len(self.actions) + 1, "rewards": len(self.rewards) + 1}
        lengths |= {name: len(values) for name, values in self.variables.items()}
        for name, length in lengths.items():
            if length != count:
                raise ValueError(f"{name} do not fit {count} frames")

    @property
    def steps(self) -> Steps:
        """All N steps: N = T, or T+1 where the last one shows no frame."""
        actions, rewards = self.actions, self.rewards
        if self.final_action is not None:
            actions, rewards = np.append(actions, self.final_action), np.append(rewards, self.final_reward)
        return Steps.join(
            actions,
            rewards,
            terminated=self.terminated and self.is_complete,
            truncated=self.truncated and self.is_complete,
        )
