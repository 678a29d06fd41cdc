"""How far apart are two sets of features? The kernel distance (Binkowski et al. 2018), unbiased."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

SPLITS = 50  # random halves to average over


def polynomial_mmd(first: np.ndarray, second: np.ndarray) -> float:
    """Return the unbiased squared maximum mean discrepancy under the kernel (x.y/d + 1)^3: features (m d) and (n d).

    It is 0 in the mean for two draws of one distribution, and so can come out below 0.

    Raises:
        ValueError: if a set has fewer than 2 workers.
    """
    m, n = len(first), len(second)
    if min(m, n) < 2:
        raise ValueError(f"a kernel distance needs 2 workers on each side, got {m} and {n}; draw more clips")
    within_first, within_second = _kernel(first, first), _kernel(second, second)
    return float(
        (within_first.sum() - np.trace(within_first)) / (m * (m - 1))
        + (within_second.sum() - np.trace(within_second)) / (n * (n - 1))
        - 2 * _kernel(first, second).mean()
    )


def _kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    kernel: np.ndarray = (first @ second.T / first.shape[1] + 1) ** 3
    return kernel


def split_distances(
    rows: Mapping[str, np.ndarray], real: np.ndarray, *, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return the distance of each row's features (b d) from the real ones of other clips: float64 (SPLITS).

    The clips are split in halves at random, the same for all rows: one half's row against the other half's real.
    """
    halves = [rng.permutation(len(real)) for _ in range(SPLITS)]
    middle = len(real) // 2
    return {
        row: np.array([polynomial_mmd(features[half[:middle]], real[half[middle:]]) for half in halves])
        for row, features in rows.items()
    }


def excess(rows: np.ndarray, others: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """Return by how much `rows` are farther from the real than `others` are, and the variance of that over clips.

    All are features (h n d) of the same n clips at h horizons, over which distances are averaged. A distance is the
    mean over all pairs of clips (Gretton et al. 2012, eq. 4), so the variance follows from leaving out each clip in
    turn (the jackknife of a U-statistic, Efron and Stein 1981): the fewer clips there are, the larger it is.

    Raises:
        ValueError: if there are fewer than 3 clips.
    """
    n = rows.shape[1]
    if n < 3:
        raise ValueError(f"a difference of kernel distances needs 3 clips, got {n}; draw more clips")
    pairs = np.mean([_pairs(x, r) - _pairs(y, r) for x, y, r in zip(rows, others, real, strict=True)], axis=0)
    np.fill_diagonal(pairs, 0)
    means = pairs.sum(1) / (n - 1)
    difference = float(means.mean())
    return difference, float((n - 1) / n * np.square(2 * (difference - means) / (n - 2)).sum())


def _pairs(features: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Return what each pair of clips contributes to the distance: (n d) twice -> (n n)."""
    between = _kernel(features, real)
    return _kernel(features, features) + _kernel(real, real) - between - between.T


def joint(features: np.ndarray, actions: np.ndarray, num_actions: int) -> np.ndarray:
    """Return features (b d) with the actions (b) that were given beside them, (b d+a): frames that follow from another
    action than was given are then far, though each may be real by itself (DeVries et al. 2019).

    As many units of length are given to the action as to the (standardized) features.
    """
    one_hot = np.eye(num_actions)[actions] * np.sqrt(features.shape[1])
    return np.concatenate([features, one_hot], axis=1)
