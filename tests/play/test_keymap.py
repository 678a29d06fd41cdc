"""From keys to actions: whatever is held down, the game does what a player would expect."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldmodel.action_names import IDLE
from worldmodel.play.keymap import buttons, choose_action, parts

MAZE = ("noop", "forward", "left", "right", "forward+left", "forward+right", "strafe_left", "strafe_right")
ATARI = ("noop", "fire", "up", "right", "left", "down", "upright", "upleft", "upfire", "uprightfire")
OTHER = ("action_0", "action_1", "pickup")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("noop", ()),
        ("forward", ("forward",)),
        ("forward+left", ("forward", "left")),
        ("strafe_left", ("strafe_left",)),
        ("upright", ("up", "right")),
        ("downleftfire", ("down", "left", "fire")),
        ("up_right_fire", ("up", "right", "fire")),
        ("pickup", ("pickup",)),
    ],
)
def test_parts_of_an_action(name: str, expected: tuple[str, ...]) -> None:
    """An action's name says which buttons it presses together."""
    assert parts(name) == expected


@pytest.mark.parametrize(
    ("pressed", "expected"),
    [
        ([], "noop"),
        (["forward"], "forward"),
        (["forward", "left"], "forward+left"),
        (["left", "forward"], "forward+left"),
        (["left", "right"], "right"),
        (["right", "left"], "left"),
        (["forward", "left", "right"], "forward+right"),
        (["forward", "strafe_left"], "strafe_left"),
        (["strafe_left", "forward"], "forward"),
        (["strafe_left", "strafe_right"], "strafe_right"),
        (["unknown"], "noop"),
        (["forward", "forward+left"], "forward+left"),
    ],
)
def test_what_is_held_becomes_an_action(pressed: list[str], expected: str) -> None:
    """Together where the game can, else the newest; of opposites the newer; a whole action's name is that action."""
    assert choose_action(pressed, MAZE) == MAZE.index(expected)


def test_opposites_by_any_name_exclude_each_other() -> None:
    """What a game calls steer_left and steer_right is not done at once, nor is the one lost when both are let go of."""
    names = ("still", "steer_left", "steer_right", "gas+steer_left", "gas+steer_right", "gas")
    assert choose_action(["gas", "steer_left", "steer_right"], names) == 4
    assert choose_action(["steer_right", "gas", "steer_left"], names) == 3
    assert choose_action([], names) == 0


def test_a_game_without_an_idle_action_waits() -> None:
    """Nothing is done while nothing is pressed, where the game has no way to do nothing."""
    assert choose_action([], OTHER) is None
    assert choose_action(["pickup"], OTHER) == 2


@pytest.mark.parametrize("names", [MAZE, ATARI, OTHER, tuple(f"a{i}" for i in range(18))])
def test_no_key_presses_two_buttons(names: tuple[str, ...]) -> None:
    """Each button has keys of its own, as long as there are any."""
    keys = [key for button in buttons(names) for key in button.keys]
    assert len(keys) == len(set(keys))
    assert all(button.keys for button in buttons(names)[:12])


@pytest.mark.parametrize("names", [MAZE, ATARI, OTHER])
def test_every_action_can_be_pressed(names: tuple[str, ...]) -> None:
    """Pressing the buttons of an action, in any order, does that action."""
    for index, name in enumerate(names):
        if name not in IDLE:
            assert choose_action(parts(name), names) == index
            assert choose_action(parts(name)[::-1], names) == index
        assert choose_action([name], names) == index


@given(st.lists(st.text(max_size=12), max_size=12), st.sampled_from([MAZE, ATARI, OTHER]))
def test_any_words_give_an_action_or_none(pressed: list[str], names: tuple[str, ...]) -> None:
    """Whatever a page says is held, the answer is an action of the game."""
    chosen = choose_action(pressed, names)
    assert chosen is None or 0 <= chosen < len(names)
