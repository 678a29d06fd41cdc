"""What is evaluated, on what, and those that stand beside it: each imagines the future of the same clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..rollouts import EpisodeDataset
from ..simulator import Simulator
from ..types import NO_ACTION
from .clips import Clips, draw_clips

Report = Callable[[int, int], None]  # is told how much of a part is done, of how much
CLIPS_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A world model, held-out recordings, and how thoroughly the one is asked about the other."""

    simulator: Simulator
    dataset: EpisodeDataset
    num_clips: int = 128
    context: int = 6
    seed: int = 0
    quick: bool = False  # a tenth of the work: enough to see that it works, too noisy to compare

    def __post_init__(self) -> None:
        """Refuse recordings of another game than the one the model has learned.

        Raises:
            ValueError: naming what does not fit.
        """
        model, info = self.simulator, self.dataset.info
        for name in ("frame_size", "frame_skip", "action_names"):
            asked, known = getattr(info, name), getattr(model, name)
            if asked != known:
                raise ValueError(f"{self.dataset.path} has {name} {asked}, the model was trained with {known}")
        if self.context < 1:
            raise ValueError(f"context must be at least 1 frame, got {self.context}")

    def clips(self, horizon: int, *, number: int | None = None) -> Clips:
        """Return clips of the context and `horizon` frames after it, the same ones every time."""
        return draw_clips(self.dataset, frames=self.context + horizon, number=number or self.num_clips, seed=self.seed)


class Imaginer(Protocol):
    """Somebody who says what will be seen: a world model, a baseline, or an oracle."""

    def __call__(self, clips: Clips, future: np.ndarray, *, context: int, seed: int) -> np.ndarray:
        """Return uint8 (b n H W 3): what follows each clip's first `context` frames under actions `future` (b n)."""


class Told:
    """The world model, told the actions."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    def __call__(self, clips: Clips, future: np.ndarray, *, context: int, seed: int) -> np.ndarray:
        """Return uint8 (b n H W 3)."""
        parts = []
        for start in range(0, len(clips.frames), CLIPS_AT_ONCE):
            some = clips[start : start + CLIPS_AT_ONCE]
            known, asked = some.actions[:, : context - 1], future[start : start + CLIPS_AT_ONCE]
            imagined = self._imagine(some.frames[:, :context], known, asked, seed=seed + start)
            parts.append(imagined)
        return np.concatenate(parts)

    def _imagine(self, past: np.ndarray, known: np.ndarray, asked: np.ndarray, *, seed: int) -> np.ndarray:
        return self.simulator.imagine(past, known, asked, seed=seed).frames


class Untold(Told):
    """The same world model, told no action at all."""

    def _imagine(self, past: np.ndarray, known: np.ndarray, asked: np.ndarray, *, seed: int) -> np.ndarray:
        return super()._imagine(past, np.full_like(known, NO_ACTION), np.full_like(asked, NO_ACTION), seed=seed)


def copy_last(clips: Clips, future: np.ndarray, *, context: int, seed: int) -> np.ndarray:
    """Hold the last context frame: the baseline that knows nothing."""
    last = clips.frames[:, context - 1 : context]
    return np.repeat(last, future.shape[1], axis=1)
