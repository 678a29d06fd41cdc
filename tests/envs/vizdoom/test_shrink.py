"""Frames from the engine's colour planes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from worldmodel.envs.vizdoom.shrink import Shrinker


def exact_halving(planes: np.ndarray) -> np.ndarray:
    c, height, width = planes.shape
    blocks = planes.reshape(c, height // 2, 2, width // 2, 2).astype(int)
    return ((blocks.sum(axis=(2, 4)) + 2) // 4).astype(np.uint8)


@given(arrays(np.uint8, (3, 16, 16)))
def test_halving_is_the_exact_rounded_mean(planes: np.ndarray) -> None:
    """Each pixel is the mean of its 2x2 block, a half rounded up: no overflow between the bytes of a word."""
    assert np.array_equal(Shrinker(16, halvings=1)(planes), exact_halving(planes).transpose(1, 2, 0))


@pytest.mark.parametrize("halvings", [0, 1, 2, 3])
def test_frames_stay_as_they_are(halvings: int) -> None:
    """A frame has memory of its own: the next one does not change it; a window of wider planes is fine."""
    shrink = Shrinker(64, halvings=halvings)
    rng = np.random.default_rng(0)
    planes = [rng.integers(0, 256, (3, 64, 96), dtype=np.uint8)[:, :, 16:80] for _ in range(2)]
    frames = [shrink(each) for each in planes]
    for frame, expected in zip(frames, planes, strict=True):
        for _ in range(halvings):
            expected = exact_halving(expected)
        assert np.array_equal(frame, expected.transpose(1, 2, 0))
