"""How sure is a mean over clips? Bootstrap intervals, also of paired differences, and how often chance makes those."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..answers import Claim, Curve, Scalar

DRAWS = 1000
FLIPS = 10_000
CONFIDENCE = 0.95
CLEARLY = 0.001  # p of a difference that a claim takes for one: an evaluation makes dozens of claims


def bootstrap(values: np.ndarray, rng: np.random.Generator, *, draws: int = DRAWS) -> Scalar:
    """Return the mean over clips (b) and its 95% percentile interval (Efron 1979), clips drawn with replacement.

    Clips of one episode resemble each other, so the interval speaks of other clips of the same episodes.

    Raises:
        ValueError: if there is no clip.
    """
    return by_step(values[:, None], rng, draws=draws).at(0)


def by_step(values: np.ndarray, rng: np.random.Generator, *, draws: int = DRAWS) -> Curve:
    """Return the mean over clips of each step, values (b n), with its interval as `bootstrap` does.

    The clips of a draw are the same for all steps.

    Raises:
        ValueError: if there is no clip.
    """
    if not len(values):
        raise ValueError("an interval needs at least one clip, got none")
    number = len(values)
    counts = rng.multinomial(number, np.full(number, 1 / number), size=draws)
    means = counts / number @ values.astype(np.float64)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    mean = values.mean(0, dtype=np.float64)
    return Curve(tuple(mean.tolist()), tuple(low.tolist()), tuple(high.tolist()))


def all_and_moving(name: str, values: np.ndarray, moving: np.ndarray, rng: np.random.Generator) -> dict[str, Scalar]:
    """Return {name: ..., name_moving: ...}, the mean with its interval over all clips and over the `moving` ones (b).

    Where no clip moves more than the others, all of them count as moving.
    """
    return {name: bootstrap(values, rng), f"{name}_moving": bootstrap(of_moving(values, moving), rng)}


def of_moving(values: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """Return the values (b ...) of the moving clips; of all, where none moves more than the others."""
    return values[moving] if moving.any() else values


def paired(values: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> Scalar:
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


def clearly_less(values: np.ndarray, others: np.ndarray) -> bool:
    """Return whether values (b) are below others by more than chance makes of as many clips."""
    difference = values - others
    return bool(difference.mean() < 0 and sign_flips(difference, np.random.default_rng(0)) < CLEARLY)


def in_order(text: str, rows: Mapping[str, np.ndarray]) -> Claim:
    """Claim that no row, one value a clip (b), is clearly above the one before it: the best one comes first."""
    pairs = itertools.pairwise(rows.values())
    holds = not any(clearly_less(better, worse) for better, worse in pairs)
    return Claim(text=text, holds=holds, figures={row: float(values.mean()) for row, values in rows.items()})


def rounded(values: np.ndarray) -> list[Any]:
    """Return per-clip values (b ...) as lists of numbers with four digits, for later paired comparisons."""
    out: list[Any] = np.round(values.astype(np.float64), 4).tolist()
    return out
