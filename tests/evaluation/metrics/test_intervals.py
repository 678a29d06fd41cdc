"""Intervals: means by hand, coverage by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from worldmodel.evaluation.answers import Scalar
from worldmodel.evaluation.metrics.intervals import (
    all_and_moving,
    bootstrap,
    by_step,
    in_order,
    paired,
    rounded,
    sign_flips,
)


def test_mean_and_shapes() -> None:
    """A value a clip gives a scalar; a value a clip and step gives a curve."""
    flat = bootstrap(np.array([1.0, 2.0, 6.0]), np.random.default_rng(0))
    assert flat.value == 3.0
    assert flat.low is not None
    assert flat.high is not None
    assert 1 <= flat.low < 3 < flat.high <= 6
    steps = by_step(np.array([[1.0, 10.0], [3.0, 10.0]]), np.random.default_rng(0))
    assert steps.mean == (2.0, 10.0)
    assert (steps.low, steps.high) == ((1.0, 10.0), (3.0, 10.0))


def test_one_clip_has_no_width_and_none_is_refused() -> None:
    """With a single clip nothing can vary; with none there is nothing to say."""
    only = bootstrap(np.array([5.0]), np.random.default_rng(0))
    assert only == Scalar(5.0, 5.0, 5.0)
    with pytest.raises(ValueError, match="at least one clip"):
        bootstrap(np.zeros(0), np.random.default_rng(0))


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Of 300 samples of 50 normal numbers, about 95% have the true mean inside."""
    rng = np.random.default_rng(1)
    intervals = [bootstrap(rng.normal(7, 2, 50), rng, draws=400) for _ in range(300)]
    inside = np.mean([i.low <= 7 <= i.high for i in intervals])  # type: ignore[operator]
    assert 0.90 <= inside <= 0.98
    widths = np.mean([i.high - i.low for i in intervals])  # type: ignore[operator]
    assert widths == pytest.approx(2 * 1.96 * 2 / 50**0.5, rel=0.1)


def test_pairs_drop_what_the_clips_share() -> None:
    """A constant difference between clips that differ wildly among themselves has an interval of no width."""
    clips = np.random.default_rng(0).normal(0, 100, 20)
    difference = paired(clips + 2, clips, np.random.default_rng(0))
    assert difference.low == pytest.approx(2)
    assert difference.high == pytest.approx(2)


def test_rounded_values_keep_four_digits() -> None:
    """Per-clip values are short."""
    assert rounded(np.array([[1.23456, 2], [3, 4]])) == [[1.2346, 2.0], [3.0, 4.0]]


def test_moving_clips_and_where_none_moves() -> None:
    """The moving clips' mean stands beside that of all; where none moves, all of them count."""
    values, rng = np.array([1.0, 5.0]), np.random.default_rng(0)
    numbers = all_and_moving("psnr", values, np.array([False, True]), rng)
    assert (numbers["psnr"].value, numbers["psnr_moving"].value) == (3.0, 5.0)
    still = all_and_moving("psnr", values, np.array([False, False]), rng)
    assert still["psnr_moving"].value == 3.0


def test_p_is_the_share_of_sign_patterns() -> None:
    """For five clips the p is what counting all 32 sign patterns gives, up to the draws; for no difference it is 1."""
    differences = np.array([0.5, 1.0, -0.25, 2.0, 0.75])
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=5)]
    exact = np.mean([value >= abs(differences.sum()) - 1e-9 for value in sums])
    assert sign_flips(differences, np.random.default_rng(0)) == pytest.approx(exact, abs=0.02)
    assert sign_flips(np.zeros(5), np.random.default_rng(0)) == 1


def test_p_is_fair_and_has_power() -> None:
    """Where there is no difference, p is below 0.05 about once in twenty; a clear difference is found."""
    rng = np.random.default_rng(0)
    p = [sign_flips(rng.normal(size=20), rng, flips=400) for _ in range(400)]
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.09
    assert sign_flips(rng.normal(1, 1, size=60), rng) < 0.001


def test_only_a_clear_disorder_breaks_a_claim() -> None:
    """Rows alike, or out of order by noise, keep the claim; a gap far beyond the noise breaks it; a few clips never."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (2, 40))
    assert in_order("x", {"first": noise[0], "second": noise[1] + 0.1}).holds
    assert in_order("x", {"first": noise[0], "second": noise[0] - 3}).holds
    assert not in_order("x", {"first": noise[0], "second": noise[1] + 3}).holds
    assert in_order("x", {"first": noise[0, :4], "second": noise[1, :4] + 3}).holds
    reds = [not in_order("x", {"a": rng.normal(size=12), "b": rng.normal(size=12)}).holds for _ in range(200)]
    assert np.mean(reds) < 0.01
