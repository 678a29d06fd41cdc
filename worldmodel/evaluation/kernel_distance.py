"""How far apart are two sets of features? The kernel distance (Binkowski et al. 2018), unbiased."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

SPLITS = 50  # random halves to average over


def polynomial_mmd(first: np.ndarray, second: np.ndarray) -> float:
    """Return the unbiased squared maximum mean discrepancy under the kernel (x.y/d + 1)^3: features (m d) and (n d).

    It is 0 in the mean for two draws of one distribution, and so can come out below 0.

    Raises:
        ValueError: if a set has fewer than 2 members.
    """
    m, n = len(first), len(second)
    if min(m, n) < 2:
        raise ValueError(f"a kernel distance needs 2 members on each side, got {m} and {n}; draw more clips")
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


def joint(features: np.ndarray, actions: np.ndarray, num_actions: int) -> np.ndarray:
    """Return features (b d) with the actions (b) that were told beside them, (b d+a): frames that follow from another
    action than was told are then far, though each may be real by itself (DeVries et al. 2019).

    As many units of length are given to the action as to the (standardized) features.
    """
    one_hot = np.eye(num_actions)[actions] * np.sqrt(features.shape[1])
    return np.concatenate([features, one_hot], axis=1)
