"""Held-out clips: repeatable, aligned, and which of them move."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.worlds import record_toy
from worldmodel.evaluation.harness.clips import Clips, draw_clips, psnr
from worldmodel.rollouts import EpisodeDataset


def test_psnr_by_hand() -> None:
    """One grey level of error everywhere is 48.13 dB; black against white is 0 dB."""
    black = np.zeros((2, 4, 4, 3), np.uint8)
    np.testing.assert_allclose(psnr(black + 1, black), 20 * np.log10(255))
    np.testing.assert_allclose(psnr(black + 255, black), 0)
    np.testing.assert_allclose(psnr(black, black), 20 * np.log10(255))


def test_clips_are_repeatable_and_aligned(tmp_path: Path) -> None:
    """The same seed draws the same clips, and each clip's frames and actions stand at their place in the recording."""
    dataset = EpisodeDataset(record_toy(tmp_path / "d"))
    first, second, other = (draw_clips(dataset, frames=5, number=6, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.frames, second.frames)
    assert not np.array_equal(first.frames, other.frames)
    for frames, actions, (index, start) in zip(first.frames, first.actions, first.places, strict=True):
        episode = dataset.episode(index)
        np.testing.assert_array_equal(episode.frames[start : start + 5], frames)
        np.testing.assert_array_equal(episode.actions[start : start + 4], actions)


def test_moving_clips_are_those_that_change_more() -> None:
    """A clip that stands still is not moving; one that flickers is."""
    still = np.zeros((2, 3, 4, 4, 3), np.uint8)
    still[1, 1] = 100
    assert Clips(still, np.zeros((2, 2), np.int64)).moving.tolist() == [False, True]
