"""Opposites are read off the names of actions, whatever stands around the direction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldmodel.action_names import opposites


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("noop", "left", "right"), [(1, 2)]),
        (("NOOP", "UP", "DOWN"), [(1, 2)]),
        (("noop", "strafe_right", "strafe_left"), [(2, 1)]),
        (("move_left", "move_right", "turn_left", "turn_right"), [(2, 3), (0, 1)]),
        (("noop", "left_engine", "main_engine", "right_engine"), [(1, 3)]),
        (("noop", "forward", "back"), [(1, 2)]),
        (("forward", "backward", "right", "left"), [(3, 2), (0, 1)]),
        (("lane_left", "idle", "lane_right", "faster", "slower"), [(0, 2), (4, 3)]),
        (("x0_low", "noop", "x0_high", "x1_high"), [(0, 2)]),
        (("forward+left", "forward+right", "back+right"), [(0, 2)]),
        (("run+left", "run+right"), [(0, 1)]),
        (("up_left", "up_right", "down_right"), [(0, 2)]),
        (("move_left", "turn_right"), []),
        (("noop", "fire", "leftover", "rightful"), []),
        ((), []),
    ],
)
def test_opposites_are_read_off_names(names: tuple[str, ...], pairs: list[tuple[int, int]]) -> None:
    """Two actions undo each other if every direction is turned round and the rest is the same."""
    assert opposites(names) == pairs


WORDS = st.lists(st.sampled_from(["left", "right", "up", "down", "forward", "back", "turn", "fire"]), max_size=3)


@given(st.lists(WORDS.map("_".join), max_size=8, unique=True))
def test_a_pair_is_two_different_actions_once(names: list[str]) -> None:
    """No action undoes itself, and no pair comes twice, in whatever order."""
    pairs = opposites(names)
    assert all(one != other for one, other in pairs)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
