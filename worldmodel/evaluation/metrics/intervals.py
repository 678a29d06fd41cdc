"""How sure is a mean over clips? Bootstrap intervals, also of paired differences, and how often chance makes those."""

from __future__ import annotations

from typing import Any

import numpy as np

DRAWS = 1000
FLIPS = 10_000
CONFIDENCE = 0.95


def bootstrap(values: np.ndarray, rng: np.random.Generator, *, draws: int = DRAWS) -> dict[str, Any]:
    """Return the mean over clips and its 95% percentile interval (Efron 1979), clips drawn with replacement.

    Clips of one episode resemble each other, so the interval speaks of other clips of the same episodes.

    Args:
        values: one number a clip, (b), or one a clip and step, (b n).
        rng: draws the clips. The clips of a draw are the same for all steps.
        draws: how often.

    Returns:
        "mean", "low" and "high", each a float for (b), a list with one float a step for (b n).

    Raises:
        ValueError: if there is no clip.
    """
    if not len(values):
        raise ValueError("an interval needs at least one clip, got none")
    number = len(values)
    counts = rng.multinomial(number, np.full(number, 1 / number), size=draws)
    means = np.tensordot(counts / number, values.astype(np.float64), axes=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return {"mean": values.mean(0, dtype=np.float64).tolist(), "low": low.tolist(), "high": high.tolist()}


def all_and_moving(name: str, values: np.ndarray, moving: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Return {name: ..., name_moving: ...}, the mean with its interval over all clips and over the `moving` ones (b).

    Where no clip moves more than the others, all of them count as moving.
    """
    some = values[moving] if moving.any() else values
    return {name: bootstrap(values, rng), f"{name}_moving": bootstrap(some, rng)}


def paired(values: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Return the mean and the interval of values - others, clip by clip: what all clips have in common drops out."""
    return bootstrap(values - others, rng)


def sign_flips(differences: np.ndarray, rng: np.random.Generator, *, flips: int = FLIPS) -> float:
    """Return the p of paired differences (b): the share of random signs with a mean at least as far from zero.

    Under the hypothesis that the two are alike, each difference is as likely as its negative (Fisher 1935). What was
    seen counts as one of the draws, so p is never 0.
    """
    signs = rng.choice(np.array([-1.0, 1.0]), size=(flips, len(differences)))
    means = np.abs(signs @ differences)
    seen = np.abs(differences.sum()) * (1 - 1e-12)
    return float((1 + (means >= seen).sum()) / (1 + flips))


def rounded(values: np.ndarray) -> list[Any]:
    """Return per-clip values (b ...) as lists of numbers with four digits, for later paired comparisons."""
    out: list[Any] = np.round(values.astype(np.float64), 4).tolist()
    return out
