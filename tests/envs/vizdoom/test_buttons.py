"""Actions by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldmodel.envs.vizdoom.buttons import BUTTONS, canonical, choose_actions, default_actions, presses

MAZE = ["TURN_LEFT", "TURN_RIGHT", "MOVE_FORWARD", "MOVE_LEFT", "MOVE_RIGHT"]


def test_default_actions_are_those_the_buttons_allow() -> None:
    """The maze's five buttons give the eight actions that its models are trained on, in this order."""
    expected = "noop forward left right forward+left forward+right strafe_left strafe_right"
    assert default_actions(MAZE) == tuple(expected.split())
    assert default_actions(["ATTACK"]) == ("noop", "attack")


def test_buttons_are_pressed_by_name_not_by_position() -> None:
    """The same action presses the same buttons in whatever order the engine lists them."""
    assert presses("forward+left", MAZE) == [1, 0, 1, 0, 0]
    assert presses("forward+left", MAZE[::-1]) == [0, 0, 1, 0, 1]
    assert presses("noop", MAZE) == [0, 0, 0, 0, 0]


@given(st.permutations(list(BUTTONS)), st.integers(1, 4))
def test_one_combination_has_one_name(parts: list[str], count: int) -> None:
    """However the parts of a combination are ordered, its canonical name is the same."""
    name = canonical("+".join(parts[:count]), BUTTONS)
    assert name == canonical("+".join(reversed(parts[:count])), BUTTONS)
    assert sorted(name.split("+")) == sorted(parts[:count])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["forwad"], "no action named 'forwad'; did you mean 'forward'?"),
        (["forward+noop"], "no action named 'noop'"),
        (["attack"], "no action named 'attack'"),
        (["left+left"], "presses a button twice"),
        (["forward+left", "left+forward"], "each once"),
        ([], "at least one name"),
    ],
)
def test_wrong_actions_are_refused(names: list[str], message: str) -> None:
    """An action the game does not know, or that comes twice, is an error that names it."""
    with pytest.raises(ValueError, match=message.replace("+", r"\+").replace("?", r"\?")):
        choose_actions(names, MAZE)
