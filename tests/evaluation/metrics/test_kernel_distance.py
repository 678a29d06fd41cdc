"""The kernel distance is its definition, is 0 in the mean for the same, and grows with what differs."""

from __future__ import annotations

import numpy as np
import pytest

from worldmodel.evaluation.metrics.kernel_distance import SPLITS, excess, joint, polynomial_mmd, split_distances


def test_mmd_is_its_definition() -> None:
    """All pairs of different workers, by loops: Binkowski et al. 2018, eq. 4."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 5)), rng.normal(size=(3, 5)) + 1

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 5 + 1) ** 3)

    within_x = np.mean([kernel(x[i], x[j]) for i in range(4) for j in range(4) if i != j])
    within_y = np.mean([kernel(y[i], y[j]) for i in range(3) for j in range(3) if i != j])
    between = np.mean([kernel(a, b) for a in x for b in y])
    assert polynomial_mmd(x, y) == pytest.approx(within_x + within_y - 2 * between)
    with pytest.raises(ValueError, match="2 workers on each side, got 1 and 3"):
        polynomial_mmd(x[:1], y)


def test_the_same_is_at_zero_and_the_shifted_beyond() -> None:
    """Over many draws of one distribution the mean is 0 within its error; a shift is found, a larger one is farther."""
    rng = np.random.default_rng(0)
    same = [polynomial_mmd(rng.normal(size=(20, 8)), rng.normal(size=(20, 8))) for _ in range(200)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(200)
    real = rng.normal(size=(60, 8))
    rows = {"real": real, "near": real + 0.5, "far": real + 1}
    distances = split_distances(rows, real, rng=rng)
    assert {len(values) for values in distances.values()} == {SPLITS}
    assert distances["real"].mean() < distances["near"].mean() < distances["far"].mean()


def test_wrong_action_is_far_though_each_frame_is_real() -> None:
    """Features that follow from other actions than were told have the same distribution, but not beside the action."""
    rng = np.random.default_rng(0)
    actions = rng.integers(3, size=90)
    features = np.eye(3)[actions] * 2 + rng.normal(size=(90, 3)) * 0.1
    wrong = np.eye(3)[(actions + 1) % 3] * 2 + rng.normal(size=(90, 3)) * 0.1
    alone = split_distances({"wrong": wrong}, features, rng=np.random.default_rng(1))["wrong"].mean()
    real, other = (joint(values, actions, 3) for values in (features, wrong))
    assert real.shape == (90, 6)
    beside = split_distances({"right": real, "wrong": other}, real, rng=np.random.default_rng(1))
    assert beside["wrong"].mean() > 10 * abs(beside["right"].mean())
    assert beside["wrong"].mean() > 10 * abs(alone)


def test_excess_is_a_difference_of_distances_with_its_jackknife() -> None:
    """The difference over all pairs of clips, by loops, and the variance of leaving out each clip in turn."""
    rng = np.random.default_rng(0)
    rows, others, real = rng.normal(size=(3, 2, 7, 5))

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 5 + 1) ** 3)

    def distance(x: np.ndarray, r: np.ndarray, clips: list[int]) -> float:
        pairs = [(i, j) for i in clips for j in clips if i != j]
        of = [kernel(x[i], x[j]) + kernel(r[i], r[j]) - kernel(x[i], r[j]) - kernel(x[j], r[i]) for i, j in pairs]
        return float(np.mean(of))

    def difference(clips: list[int]) -> float:
        return float(np.mean([distance(rows[h], real[h], clips) - distance(others[h], real[h], clips) for h in (0, 1)]))

    left_out = np.array([difference([i for i in range(7) if i != out]) for out in range(7)])
    found, variance = excess(rows, others, real)
    assert found == pytest.approx(difference(list(range(7))))
    assert variance == pytest.approx(6 / 7 * np.square(left_out - found).sum())
    with pytest.raises(ValueError, match="needs 3 clips, got 2"):
        excess(rows[:, :2], others[:, :2], real[:, :2])


@pytest.mark.parametrize("clips", [5, 20])
def test_two_standard_errors_are_enough(clips: int) -> None:
    """For two rows that are equally far the slack covers the difference, and what is really farther is still found."""
    rng = np.random.default_rng(0)
    clearly = 0
    for _ in range(200):
        real = rng.normal(size=(1, clips, 8))
        near, as_near = (real + 0.3 * rng.normal(size=real.shape) for _ in range(2))
        difference, variance = excess(near, as_near, real)
        clearly += abs(difference) > 2 * variance**0.5
    assert clearly <= 10
    difference, variance = excess(real + 3, real, real)
    assert difference > 2 * variance**0.5
