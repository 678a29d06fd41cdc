"""`--set name=value`: each value as its field's type, and what is wrong with one in a line."""

from __future__ import annotations

import signal

import pytest

from worldmodel.commands.cli import ProcessError, UsageError, for_console, override, plain, run
from worldmodel.learned_map.config import LearnedMapConfig
from worldmodel.training.stopping import Stopped

CONFIG = LearnedMapConfig(action_names=("noop",), tics_per_step=4)


def test_several_numbers_are_set_at_once() -> None:
    """As many as the setting has, with commas between; others stay as they are."""
    changed = override(CONFIG, ["logit_precision=2,0.5", "memory_dim=64"])
    assert changed.logit_precision == (2.0, 0.5)
    assert changed.memory_dim == 64
    assert override(CONFIG, ["memory_dim=64"]).logit_precision == CONFIG.logit_precision


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("logit_precision=2", r"logit_precision takes 2 numbers like 0\.25,6\.0, got '2'"),
        ("logit_precision=1,2,3", "takes 2 numbers"),
        ("logit_precision=1,x", "takes a number like 6.0, got 'x'"),
        ("logit_precision=1,-2", "logit_precision must be two numbers of at least 0"),
        ("action_names=left,right", "cannot be set on the command line"),
    ],
)
def test_what_cannot_be_set_is_said(assignment: str, complaint: str) -> None:
    """A wrong number of numbers, no number, one out of range, and what is no number at all."""
    with pytest.raises(UsageError, match=complaint):
        override(CONFIG, [assignment])


def test_what_a_flag_says_is_not_set() -> None:
    """--set seed=1 beside a --seed that is 0 unless given: one of the two would be lost without a word."""
    assert override(CONFIG, [], flags={"memory_dim": 64}).memory_dim == 64
    with pytest.raises(UsageError, match="memory_dim has a flag of its own: --memory_dim 32"):
        override(CONFIG, ["memory_dim=32"], flags={"memory_dim": 64})


def test_what_strangers_name_is_only_text() -> None:
    """Control characters and markup of names from a file reach no terminal as such; other letters stay."""
    assert plain("\x1b[2Jfür\n\udc80") == r"\x1b[2Jfür\n\udc80"
    assert for_console("[red]\a") == r"\[red]\x07"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("no"), 2, "p: no"),
        (ValueError("a\x1b[2J\n b"), 1, r"p: a\x1b[2J b"),
        (OSError(28, "No space left on device"), 1, "p: [Errno 28] No space left on device"),
        (MemoryError(), 1, "p: not enough memory: "),
        (ProcessError("gone", 137), 1, "p: gone"),
        (ProcessError("wrong", 2), 2, "p: wrong"),
        (KeyboardInterrupt(), 130, "p: interrupted"),
        (Stopped(signal.SIGTERM), 143, "p: terminated"),
    ],
)
def test_exit_codes(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """0, 1, 2, 130 and 143 are all there are, each error is one line, and SIGTERM is handled as before afterwards."""

    def command() -> int:
        raise error

    before = signal.getsignal(signal.SIGTERM)
    assert run("p", command) == code
    err = capsys.readouterr().err
    assert err.startswith(said)
    assert err.count("\n") == 1
    assert signal.getsignal(signal.SIGTERM) == before
