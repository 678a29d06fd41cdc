"""The order in which the patches of a frame are sampled, as waves; the codes of a patch follow one another.

Every position of the grid of patches has a wave. The positions of one wave are sampled together, given all earlier
waves. Training masks and sampling both come from the same `Order`, so sampling is exact for the model that was trained.
Raster, one position a wave, is the definition of correctness; fewer waves are faster and cost likelihood.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

# The directions (rows down, columns right) in which a position looks for the nearest known codes.
DIRECTIONS = ((0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, -1), (1, 0), (1, 1))

# Bayer's 4x4 matrix: any first so many places of it lie as far apart as they can.
_BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])

_WAVES: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "raster": lambda row, column, grid: row * grid + column,
    "diagonal-look-right": lambda row, column, grid: 2 * row + column,  # the neighbour up and to the right is known
    "diagonal": lambda row, column, grid: row + column,
    "coarse-to-fine-16": lambda row, column, grid: _BAYER[row % 4, column % 4],
    "coarse-to-fine-8": lambda row, column, grid: _BAYER[row % 4, column % 4] // 2,
    "block": lambda row, column, grid: 0 * row,
}
NAMES = tuple(_WAVES)


@dataclass(frozen=True)
class Order:
    """The wave of each position of a `grid` x `grid`, positions counted row by row."""

    name: str
    grid: int

    def __post_init__(self) -> None:
        if self.name not in _WAVES:
            raise ValueError(f"order must be one of {', '.join(NAMES)}, got {self.name!r}")

    @cached_property
    def waves(self) -> np.ndarray:
        """The wave of each position: int64 (n), from 0 without gaps."""
        row, column = np.divmod(np.arange(self.grid**2), self.grid)
        _, waves = np.unique(_WAVES[self.name](row, column, self.grid), return_inverse=True)
        return waves.astype(np.int64)

    @property
    def num_waves(self) -> int:
        return int(self.waves.max()) + 1

    @cached_property
    def sequence(self) -> np.ndarray:
        """The positions in the order in which they are sampled: int64 (n)."""
        return np.argsort(self.waves, kind="stable")

    @cached_property
    def bounds(self) -> tuple[tuple[int, int], ...]:
        """For each wave, where it begins and ends in `sequence`."""
        ends = np.cumsum(np.bincount(self.waves))
        return tuple((int(end - size), int(end)) for end, size in zip(ends, np.bincount(self.waves), strict=True))

    @cached_property
    def mask(self) -> np.ndarray:
        """Whether position p may attend to position q: bool (n n). True where q's wave is p's own or an earlier one.

        A position's state carries codes of earlier waves only, so attending within a wave gives nothing away.
        """
        return self.waves[None, :] <= self.waves[:, None]

    @cached_property
    def neighbours(self) -> np.ndarray:
        """The nearest known position in each direction when a position is sampled: int64 (n m), n where there is none.

        The columns are those of DIRECTIONS in which any position finds one, or a single one without any.
        """
        columns = [self._nearest(down, right) for down, right in DIRECTIONS]
        found = [column for column in columns if (column < self.grid**2).any()]
        return np.stack(found or columns[:1], axis=1)

    def _nearest(self, down: int, right: int) -> np.ndarray:
        """Return for each position the first one of an earlier wave in a direction, or n."""
        row, column = np.divmod(np.arange(self.grid**2), self.grid)
        nearest = np.full(self.grid**2, self.grid**2)
        for distance in reversed(range(1, self.grid)):
            r, c = row + distance * down, column + distance * right
            inside = (r >= 0) & (r < self.grid) & (c >= 0) & (c < self.grid)
            there = np.where(inside, r * self.grid + c, 0)
            nearest = np.where(inside & (self.waves[there] < self.waves), there, nearest)
        return nearest
