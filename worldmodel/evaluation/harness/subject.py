"""What is evaluated, on what, and those that stand beside it: each imagines the future of the same clips."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ...rollouts import EpisodeDataset
from ...simulator import Simulator
from ...types import NO_ACTION
from .clips import Clips, draw_clips

CLIPS_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """Held-out recordings, and how thoroughly something is asked about them."""

    dataset: EpisodeDataset
    num_clips: int = 40
    context: int = 6
    seed: int = 0
    quick: bool = False  # a tenth of the work: enough to see that it works, too noisy to compare
    cache: Path | None = None  # a directory for what several questions need; without one, each makes it for itself

    def __post_init__(self) -> None:
        """Refuse a context of no frame.

        Raises:
            ValueError: saying so.
        """
        if self.context < 1:
            raise ValueError(f"context must be at least 1 frame, got {self.context}")

    def clips(self, horizon: int, *, number: int | None = None) -> Clips:
        """Return clips of the context and `horizon` frames after it, the same ones every time."""
        return draw_clips(self.dataset, frames=self.context + horizon, number=number or self.num_clips, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class Subject(Recordings):
    """A world model, held-out recordings, and how thoroughly the one is asked about the other."""

    simulator: Simulator

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
        super().__post_init__()

    def rehearse(self) -> None:
        """Do what is done most, for nothing: to be timed."""
        self.simulator.warm_up()


class Imaginer(Protocol):
    """Somebody who says what will be seen: a world model, a baseline, or an oracle."""

    def __call__(self, clips: Clips, future: np.ndarray, *, context: int, seed: int) -> np.ndarray:
        """Return uint8 (b n H W 3): what follows each clip's first `context` frames under actions `future` (b n)."""


class Conditional:
    """The world model, told the actions.

    Where one context is given several times in a row, under other actions or with other noise, it is taken in once.
    """

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self._begun: tuple[bytes, Simulator] | None = None  # the context last given, and who has taken it in

    def __call__(self, clips: Clips, future: np.ndarray, *, context: int, seed: int) -> np.ndarray:
        """Return uint8 (b n H W 3)."""
        parts = []
        for part in slices(len(clips.frames)):
            some = clips[part]
            known = some.actions[:, : context - 1]
            parts.append(self._imagine(some.frames[:, :context], known, future[part], seed=seed + part.start))
        return np.concatenate(parts)

    def _imagine(self, past: np.ndarray, known: np.ndarray, asked: np.ndarray, *, seed: int) -> np.ndarray:
        simulator = self._after(past, known).fork()
        simulator.seed(seed)
        return simulator.decode(torch.stack([simulator.step(asked[:, i]) for i in range(asked.shape[1])], dim=1))

    def _after(self, past: np.ndarray, known: np.ndarray) -> Simulator:
        """Return a simulator that has taken in a context."""
        key = hashlib.sha256(past.tobytes() + known.tobytes()).digest()
        if self._begun is None or self._begun[0] != key:
            simulator = self.simulator.fork()
            simulator.reset(past, known)
            self._begun = key, simulator
        return self._begun[1]


class Unconditional(Conditional):
    """The same world model, told no action at all."""

    def _imagine(self, past: np.ndarray, known: np.ndarray, asked: np.ndarray, *, seed: int) -> np.ndarray:
        return super()._imagine(past, np.full_like(known, NO_ACTION), np.full_like(asked, NO_ACTION), seed=seed)


def slices(number: int) -> Iterator[slice]:
    """Yield the slices in which so many clips are imagined: a larger batch is no quicker and needs more memory."""
    for start in range(0, number, CLIPS_AT_ONCE):
        yield slice(start, min(start + CLIPS_AT_ONCE, number))


def copy_last(clips: Clips, future: np.ndarray, *, context: int, seed: int) -> np.ndarray:
    """Hold the last context frame: the baseline that knows nothing."""
    last = clips.frames[:, context - 1 : context]
    return np.repeat(last, future.shape[1], axis=1)
