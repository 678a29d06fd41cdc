"""`--set name=value`: each value as its field's type, and what is wrong with one in a line."""

from __future__ import annotations

import pytest

from worldmodel.commands.cli import UsageError, override
from worldmodel.config import DynamicsConfig

CONFIG = DynamicsConfig(action_names=("noop",), frame_skip=4, frames_per_second=8.75)


def test_several_numbers_are_set_at_once() -> None:
    """As many as the setting has, with commas between; others stay as they are."""
    changed = override(CONFIG, ["trust=2,0.5", "belief_dim=64"])
    assert changed.trust == (2.0, 0.5)
    assert changed.belief_dim == 64
    assert override(CONFIG, ["belief_dim=64"]).trust == CONFIG.trust


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("trust=2", r"trust takes 2 numbers like 0\.1,1\.0, got '2'"),
        ("trust=1,2,3", "takes 2 numbers"),
        ("trust=1,x", "takes a number like 1.0, got 'x'"),
        ("trust=1,-2", "trust must be two numbers of at least 0"),
        ("action_names=left,right", "cannot be set on the command line"),
    ],
)
def test_what_cannot_be_set_is_said(assignment: str, complaint: str) -> None:
    """A wrong number of numbers, no number, one out of range, and what is no number at all."""
    with pytest.raises(UsageError, match=complaint):
        override(CONFIG, [assignment])
