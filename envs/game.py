"""The interface of every game: reset with a seed, step with an action, frames and named variables out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What a game shows after a reset.

    Attributes:
        frame: uint8 (H, W, 3), RGB.
        variables: named numbers about the state, for example `position_x`; the same names in every observation.
        walls: what blocks the way on the map, float64 (n, 4): line segments x1 y1 x2 y2; n = 0 where there is no map.
    """

    frame: np.ndarray
    variables: Mapping[str, float] = field(default_factory=dict)
    walls: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))


@dataclass(frozen=True, kw_only=True)
class Step:
    """What an action led to.

    Attributes:
        frame: uint8 (H, W, 3), RGB; None where the game ended without showing a frame (ViZDoom does).
        reward: of this step.
        terminated: the game ended by its own rules.
        truncated: the game was cut off, for example by its time limit.
        variables: named numbers about the new state; empty where `frame` is None.
    """

    frame: np.ndarray | None
    reward: float
    terminated: bool
    truncated: bool
    variables: Mapping[str, float] = field(default_factory=dict)


class Game(Protocol):
    """A game that can be recorded. The same settings, seed and actions give the same frames, bit for bit."""

    @property
    def action_names(self) -> tuple[str, ...]:
        """What each action index means."""

    @property
    def frames_per_second(self) -> float:
        """How many steps make a second of real time."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything that must be recorded to replay the frames bit for bit, as JSON values."""

    def reset(self, seed: int) -> Observation:
        """Start the episode that belongs to `seed`."""

    def step(self, action: int) -> Step:
        """Do `action_names[action]` and return what it led to."""

    def close(self) -> None:
        """Release everything; safe to call twice."""


class GameDiedError(RuntimeError):
    """The game's process died or hung. A new game, reset with the same seed, continues the work."""
