"""What changes: pixels and small objects, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from worldmodel.evaluation.metrics.changes import (
    background_of,
    changed,
    is_found,
    patches,
    ratio_of_sums,
    small_objects,
    squared_error_on,
)


def ball(*places: tuple[int, int]) -> np.ndarray:
    """Frames uint8 (t 64 64 3): a white ball of 3x3 on grey at each place."""
    frames = np.full((len(places), 64, 64, 3), 90, np.uint8)
    for frame, (y, x) in zip(frames, places, strict=True):
        frame[y : y + 3, x : x + 3] = 255
    return frames


def test_errors_count_only_where_something_changed() -> None:
    """A ball of 9 pixels that moved away changes 18; an error elsewhere is not counted."""
    frames = ball((10, 10), (10, 20))[None]
    where = changed(frames[:, 1:], frames[:, :1])
    assert where.sum() == 18
    assert not changed(frames, frames - 10).any()
    wrong = frames[:, 1:].copy()
    wrong[..., 40:, :, :] = 0
    assert squared_error_on(wrong, frames[:, 1:], where).tolist() == [[0]]
    copied = squared_error_on(frames[:, :1], frames[:, 1:], where)
    assert copied.tolist() == [[18 * 3 * 165**2]]


def test_ratios_weigh_clips_by_what_changes() -> None:
    """The sum over clips counts; a clip in which nothing changes says nothing, and nothing over nothing is one."""
    curve = ratio_of_sums(
        np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[4.0, 0.0], [0.0, 0.0]]), np.random.default_rng(0)
    )
    assert curve.mean == pytest.approx((0.25, 1.0))
    whole = np.array([[4.0], [400.0]])
    assert ratio_of_sums(np.array([[4.0], [0.0]]), whole, np.random.default_rng(0)).mean[0] == pytest.approx(4 / 404)


def test_patches_are_connected() -> None:
    """Diagonal neighbours belong together, others do not, and all pixels are in exactly one."""
    mask = np.zeros((6, 6), bool)
    mask[0, 0] = mask[1, 1] = mask[4, 4] = True
    found = sorted(int(patch.sum()) for patch in patches(mask))
    assert found == [1, 2]
    assert np.array_equal(sum(patch.astype(int) for patch in patches(mask)), mask)


def test_a_ball_is_found_where_it_is_drawn() -> None:
    """A ball that flies, also in steps shorter than itself, is an object in each frame; drawn at half its contrast or
    more it is found, missing or elsewhere it is not."""
    frames = ball((10, 10), (10, 12), (12, 30), (40, 40), (50, 50))
    background = background_of(frames)
    objects = list(small_objects(frames, background))
    assert [t for t, _ in objects] == [1, 2, 3, 4]
    assert [int(patch.sum()) for _, patch in objects] == [9] * 4
    faint = np.where(frames == 255, 200, frames).astype(np.uint8)
    for shown, found in ((faint, True), (np.full_like(frames, 90), False), (np.roll(frames, 2, axis=0), False)):
        assert [is_found(frames[t], shown[t], background, patch) for t, patch in objects] == [found] * 4


def test_nothing_small_moves_where_everything_does() -> None:
    """A view that turns has no still background, and what stands still is no object."""
    noise = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    assert list(small_objects(noise, background_of(noise))) == []
    still = ball((10, 10), (10, 10), (10, 10))
    assert list(small_objects(still, np.full((64, 64, 3), 90, np.uint8))) == []
