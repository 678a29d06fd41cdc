"""Orders of waves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldmodel.dynamics.order import DIRECTIONS, NAMES, Order

ORDERS = st.builds(Order, st.sampled_from(NAMES), st.integers(1, 9))


@given(order=ORDERS)
def test_waves_partition_the_grid(order: Order) -> None:
    """Every position is sampled exactly once, in waves that follow one another without a gap."""
    assert sorted(order.sequence) == list(range(order.grid**2))
    assert order.bounds[0][0] == 0
    assert order.bounds[-1][1] == order.grid**2
    for (start, end), (following, _) in zip(order.bounds, order.bounds[1:], strict=False):
        assert start < end == following
    for wave, (start, end) in enumerate(order.bounds):
        assert set(order.waves[order.sequence[start:end]]) == {wave}


@given(order=ORDERS)
def test_neighbours_are_the_nearest_of_earlier_waves(order: Order) -> None:
    """A position's input carries codes of earlier waves only: in each direction those of the nearest such position."""
    grid = order.grid
    for position, found in enumerate(order.neighbours):
        row, column = divmod(position, grid)
        expected = set()
        for down, right in DIRECTIONS:
            line = [(row + k * down, column + k * right) for k in range(1, grid)]
            places = [r * grid + c for r, c in line if 0 <= r < grid and 0 <= c < grid]
            expected |= set([p for p in places if order.waves[p] < order.waves[position]][:1])
        assert {int(p) for p in found if p < grid**2} == expected


@given(order=ORDERS)
def test_mask_is_wave_order(order: Order) -> None:
    """p attends to q exactly if q's wave is not later than p's."""
    for p in range(order.grid**2):
        assert set(np.flatnonzero(order.mask[p])) == {
            q for q in range(order.grid**2) if order.waves[q] <= order.waves[p]
        }


def test_number_of_waves() -> None:
    """A 16x16 grid takes 256 waves by raster, 46 with look-right, 31 by diagonals, and down to 1 at once."""
    assert [(name, Order(name, 16).num_waves) for name in NAMES] == [
        ("raster", 256),
        ("diagonal-look-right", 46),
        ("diagonal", 31),
        ("coarse-to-fine-16", 16),
        ("coarse-to-fine-8", 8),
        ("block", 1),
    ]


@pytest.mark.parametrize(("name", "distances"), [("coarse-to-fine-16", [4, 2, 2, 2]), ("coarse-to-fine-8", [2, 2])])
def test_coarse_to_fine_starts_far_apart(name: str, distances: list[int]) -> None:
    """The first waves lie on a coarse lattice: no two known positions are nearer than its spacing."""
    order = Order(name, 8)
    for wave, distance in enumerate(distances):
        places = [divmod(int(p), 8) for p in order.sequence[: order.bounds[wave][1]]]
        gaps = [max(abs(a[0] - b[0]), abs(a[1] - b[1])) for i, a in enumerate(places) for b in places[:i]]
        assert min(gaps) == distance


def test_raster_knows_all_four_neighbours_above_and_left() -> None:
    """In the middle of a raster, left, up-left, up and up-right are known; look-right's diagonals know the same."""
    for name in ("raster", "diagonal-look-right"):
        order = Order(name, 5)
        known = {int(n) for n in order.neighbours[12] if n < 25}
        assert known == {11, 6, 7, 8}
    assert {int(n) for n in Order("diagonal", 5).neighbours[12] if n < 25} == {11, 6, 7}


def test_unknown_order_names_the_known_ones() -> None:
    """A wrong name is refused with the right ones."""
    with pytest.raises(ValueError, match="raster, diagonal"):
        Order("spiral", 4)
