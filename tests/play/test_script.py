"""A game as a line of text: nothing is lost on the way, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldmodel.play.script import MAX_LENGTH, Event, Script, parse

actions = st.builds(lambda index: Event(action=index), st.integers(0, 17))
temperatures = st.builds(lambda hundredths: Event(temperature=hundredths / 100), st.integers(0, 200))


@given(st.lists(actions | temperatures, max_size=40), st.integers(0, 999_999))
def test_text_and_back(events: list[Event], seed: int) -> None:
    """A script's text, parsed, is the script."""
    script = Script(checkpoint="maze", start="6@38", seed=seed, events=tuple(events))
    assert parse(str(script)) == script


def test_repeated_actions_are_short() -> None:
    """Ten minutes of walking fit into a link."""
    script = Script(checkpoint="maze", start="live", seed=0, events=(Event(action=1),) * 5250)
    assert str(script) == "maze~live~0~1x5250"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "maze",
        "maze~6@38~0",
        "maze~6@38~0~1x1~2x2",
        "maze~6@38~-1~1x1",
        "maze~6@38~x~1x1",
        "maze~../..~0~1x1",
        "~6@38~0~1x1",
        "maze~6@38~0~1",
        "maze~6@38~0~1x",
        "maze~6@38~0~ax1",
        "maze~6@38~0~t",
        "maze~6@38~0~1x1..1x1",
        "maze~6@38~0~1x99999",
        "maze~6@38~0~" + "1x9999." * 3 + "1x1",
        "maze~6@38~0~1x1" + " " * MAX_LENGTH,
    ],
)
def test_what_is_no_script(text: str) -> None:
    """Anything else is refused with a reason."""
    with pytest.raises(ValueError, match="script"):
        parse(text)
