"""Orders of waves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldmodel.dynamics.order import NAMES, OFFSETS, Order

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
def test_neighbours_are_of_earlier_waves(order: Order) -> None:
    """A position's input carries only codes of earlier waves, from the 3x3 around it."""
    n = order.grid**2
    for position in range(n):
        for neighbour in order.neighbours[position]:
            if neighbour < n:
                assert order.waves[neighbour] < order.waves[position]
                down, right = np.subtract(divmod(neighbour, order.grid), divmod(position, order.grid))
                assert (down, right) in OFFSETS


@given(order=ORDERS)
def test_mask_is_wave_order(order: Order) -> None:
    """p attends to q exactly if q's wave is not later than p's."""
    for p in range(order.grid**2):
        assert set(np.flatnonzero(order.mask[p])) == {
            q for q in range(order.grid**2) if order.waves[q] <= order.waves[p]
        }


def test_number_of_waves() -> None:
    """A 16x16 grid takes 256 waves by raster, 31 by diagonals, 46 with look-right and 1 at once."""
    counts = {name: Order(name, 16).num_waves for name in NAMES}
    assert counts == {"raster": 256, "diagonal": 31, "diagonal-look-right": 46, "block": 1}


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
