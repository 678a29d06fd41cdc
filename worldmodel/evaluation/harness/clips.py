"""The held-out clips on which questions are asked, and which of them move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...rollouts import EpisodeDataset
from ...training.data import Windows


@dataclass(frozen=True)
class Clips:
    """Clips of real frames with the actions between them."""

    frames: np.ndarray  # uint8 (b t H W 3)
    actions: np.ndarray  # int64 (b t-1)
    places: tuple[tuple[int, int], ...] = ()  # (b) episode and first frame of each in its data set, where it has one

    def __getitem__(self, part: slice) -> Clips:
        """Return some of the clips."""
        return Clips(self.frames[part], self.actions[part], self.places[part])

    @property
    def moving(self) -> np.ndarray:
        """Which clips change more from frame to frame than the median clip does: bool (b)."""
        change = [np.abs(np.diff(clip.astype(np.int16), axis=0)).mean() for clip in self.frames]
        return np.array(change) > np.median(change)


def draw_clips(dataset: EpisodeDataset, *, frames: int, number: int, seed: int) -> Clips:
    """Return `number` clips of `frames` frames, drawn uniformly from everything recorded.

    Raises:
        ValueError: if no episode is long enough.
    """
    windows = Windows.over(dataset.lengths, np.arange(len(dataset)), clip=frames)
    places = windows.draw(np.random.default_rng(seed), number)
    return Clips(
        np.stack([dataset.frames(episode, start, start + frames) for episode, start in places]),
        np.stack([dataset.actions(episode)[start : start + frames - 1] for episode, start in places]),
        tuple(places),
    )


def psnr(frames: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Return the peak signal-to-noise ratio in dB of each frame: uint8 (... H W 3) twice -> float64 (...).

    A mean squared error below one counts as one, 48.13 dB: a single equal frame must not carry a mean away.
    """
    error = (frames.astype(np.float32) - real.astype(np.float32)) ** 2
    mse = error.mean(axis=(-3, -2, -1), dtype=np.float64)
    return 10 * np.log10(255**2 / np.maximum(mse, 1.0))
