"""The kernel distance is its definition, is 0 in the mean for the same, and grows with what differs."""

from __future__ import annotations

import numpy as np
import pytest

from worldmodel.evaluation.kernel_distance import SPLITS, joint, polynomial_mmd, split_distances


def test_mmd_is_its_definition() -> None:
    """All pairs of different members, by loops: Binkowski et al. 2018, eq. 4."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 5)), rng.normal(size=(3, 5)) + 1

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 5 + 1) ** 3)

    within_x = np.mean([kernel(x[i], x[j]) for i in range(4) for j in range(4) if i != j])
    within_y = np.mean([kernel(y[i], y[j]) for i in range(3) for j in range(3) if i != j])
    between = np.mean([kernel(a, b) for a in x for b in y])
    assert polynomial_mmd(x, y) == pytest.approx(within_x + within_y - 2 * between)
    with pytest.raises(ValueError, match="2 members on each side, got 1 and 3"):
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
