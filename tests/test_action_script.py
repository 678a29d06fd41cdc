"""The grammar of --action: what it means, what it refuses and how its files are named."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldmodel.action_script import UNKNOWN_ACTION, example, file_names, parse

NAMES = ("noop", "forward", "left", "right", "forward+left", "forward+right", "strafe_left", "strafe_right")


@st.composite
def presses(draw: st.DrawFn) -> tuple[str, int, int]:
    """A press as a user might spell it, with the action and the steps it stands for."""
    index = draw(st.integers(0, len(NAMES) - 1))
    buttons = draw(st.permutations(NAMES[index].split("+")))
    space = draw(st.sampled_from(["", " "]))
    steps = draw(st.integers(1, 12))
    count = f":{steps}" if steps > 1 or draw(st.booleans()) else ""
    return space + f"{space}+{space}".join(buttons) + space + count + space, index, steps


@given(st.lists(st.lists(presses(), min_size=1, max_size=5), min_size=1, max_size=4), st.integers(0, 20))
def test_means_what_is_written(videos: list[list[tuple[str, int, int]]], more: int) -> None:
    """Each press is held for its steps and the last to the end, in whatever order the buttons are named."""
    scripts = parse(",".join("/".join(text for text, _, _ in video) for video in videos), NAMES)
    assert len(scripts) == len(videos)
    for script, video in zip(scripts, videos, strict=True):
        expected = [index for _, index, steps in video for _ in range(steps)]
        expected += [expected[-1]] * more
        assert script.expand(len(expected)).tolist() == expected
        assert script.names(len(expected)) == tuple(NAMES[index] for index in expected)
        assert parse(script.text, NAMES) == (script,)


def test_example_of_the_help_page() -> None:
    """The example in the documentation holds literally, as int64."""
    (script,) = parse("forward:5/right+forward:3/left", NAMES)
    indices = script.expand(10)
    assert indices.dtype == np.int64
    assert indices.tolist() == [1, 1, 1, 1, 1, 5, 5, 5, 2, 2]


@pytest.mark.parametrize(
    ("names", "script"),
    [
        (NAMES, "forward,right"),
        (("noop", "fire", "right", "left"), "left,right"),
        (("noop", "fire", "jump", "duck"), "fire,jump"),
        (("noop", "fire"), "fire"),
        (("noop",), "none"),
    ],
)
def test_every_game_has_an_example(names: tuple[str, ...], script: str) -> None:
    """What is shown without --action can be parsed, and does something where the game has an action that does."""
    assert example(names) == script
    assert parse(script, names)


def test_none_is_a_video_without_actions() -> None:
    """`none` stands for the model's UNKNOWN_ACTION in every step."""
    from worldmodel import types

    with_actions, without = parse("forward,none", NAMES)
    assert without.expand(3).tolist() == [UNKNOWN_ACTION] * 3
    assert without.is_none
    assert not with_actions.is_none
    assert types.UNKNOWN_ACTION == UNKNOWN_ACTION


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("forwrd", r"no action 'forwrd'; did you mean 'forward'\? \(actions: noop, forward, .*, none\)"),
        ("forward,rigt", r"at character 9: no action 'rigt'; did you mean 'right'"),
        ("forward/ lft:3", r"at character 10: no action 'lft'; did you mean 'left'"),
        ("left+right", r"no action 'left\+right'"),
        ("", "an action is missing"),
        ("forward,", "at character 9: an action is missing"),
        ("forward//left", "at character 9: an action is missing"),
        (":3", "an action is missing"),
        ("forward+", r"a button is missing beside '\+'"),
        ("forward+forward", "'forward\\+forward' presses a button twice"),
        ("forward:0", "at character 9: after ':' comes a number of steps, at least 1, not '0'"),
        ("forward:-2/left", "not '-2'"),
        ("forward:", "not ''"),
        ("forward:2.5", "not '2.5'"),
        ("forward:1:2", "not '1:2'"),
        ("forward:99999999999", "not '99999999999'"),
        ("forward/none", "'none' is for a whole video"),
        ("none+forward", "no action 'none\\+forward'"),
    ],
)
def test_refuses(text: str, says: str) -> None:
    """A script that cannot be is refused with the place, the reason and the nearest name."""
    with pytest.raises(ValueError, match=says):
        parse(text, NAMES)


@given(st.text(alphabet="forwadleight+/:,0123 _n-é٣\n", max_size=40))
def test_any_text_is_understood_or_refused(text: str) -> None:
    """No text does anything but parse or raise ValueError."""
    try:
        scripts = parse(text, NAMES)
    except ValueError:
        return
    assert scripts


def test_longer_than_what_is_imagined() -> None:
    """A script that does not fit the steps is refused, not cut off."""
    (script,) = parse("forward:8/left:3", NAMES)
    assert len(script.expand(11)) == 11
    with pytest.raises(ValueError, match="takes 11 steps, but only 10 are imagined"):
        script.expand(10)


def test_file_names_say_what_was_pressed() -> None:
    """A file's name is the script, with the characters that file systems refuse replaced."""
    scripts = parse("forward,forward:5/right+forward:3/left", NAMES)
    assert file_names(scripts) == ["forward", "forward-5_forward+right-3_left"]


@given(st.lists(st.text(max_size=100), min_size=1, max_size=6))
def test_file_names_are_safe_and_unique(names: list[str]) -> None:
    """Whatever the actions of a game are called, each video has a file of its own on any file system."""
    known = [name for name in dict.fromkeys(re.sub(r"[,/:+]", "", name).strip() for name in names) if name]
    scripts = [script for name in known if name != "none" for script in parse(f"{name},{name}", known)]
    stems = file_names(scripts, reserved=["imagine"])
    assert len({stem.casefold() for stem in stems} | {"imagine"}) == len(scripts) + 1
    assert all(re.fullmatch(r"[A-Za-z0-9_+.-]{1,90}", stem) for stem in stems)
