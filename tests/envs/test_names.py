"""Names of actions."""

from __future__ import annotations

import enum
import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldmodel.action_script import parse
from worldmodel.envs.names import meanings, unique


class Keys(enum.IntEnum):
    STAY = 0
    MOVE = 1


@pytest.mark.parametrize(
    ("said", "names"),
    [
        (["NOOP", "Move left"], ("noop", "move_left")),
        (["MOVE", "MOVE"], ("move", "move_2")),
        (["none", "left,up"], ("noop", "left_up")),
        (["rückwärts", "右"], ("ruckwarts", "action_1")),
        ({0: "stay", 1: "left"}, ("stay", "left")),
        ({"stay": 0, "left": 1}, ("action_0", "action_1")),
        (["only"], ("action_0", "action_1")),
        (["a", "b", "c"], ("action_0", "action_1")),
        ("ab", ("action_0", "action_1")),
        (None, ("action_0", "action_1")),
    ],
)
def test_meanings_become_unique_safe_names(said: object, names: tuple[str, ...]) -> None:
    """Said as a method or an attribute, meanings become names; what does not fit the actions is not used."""
    assert meanings(SimpleNamespace(get_action_meanings=lambda: said), "Odd-v0", 2) == names
    assert meanings(SimpleNamespace(get_action_meanings=said), "Odd-v0", 2) == names


def test_other_ways_to_name_actions() -> None:
    """MiniGrid has an enum, highway-env a table, CartPole nothing but its page."""
    assert meanings(SimpleNamespace(actions=Keys), "MiniGrid-Odd-v0", 2) == ("stay", "move")
    assert meanings(SimpleNamespace(action_type=SimpleNamespace(actions={0: "L", 1: "R"})), "odd", 2) == ("l", "r")
    assert meanings(SimpleNamespace(), "CartPole-v1", 2) == ("left", "right")


@given(
    st.lists(st.text(max_size=8) | st.sampled_from(["none", "None", "noop", "a", "A", "a_2"]), min_size=1, max_size=9)
)
def test_every_name_is_understood_on_the_command_line(said: list[str]) -> None:
    """Whatever a game calls its actions, the names are unique, shell-safe, and `--action NAME` is that action."""
    names = unique(said)
    assert len(set(names)) == len(said)
    for index, name in enumerate(names):
        assert re.fullmatch("[a-z0-9_]+", name)
        assert [press.index for script in parse(name, names) for press in script.presses] == [index]
