"""Every promise of docs/reliability.md, tried a few times; and the command that tries them in full always ends."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import pytest

import tests.faults.rows  # noqa: F401 - fills PROMISES
from tests.faults import __main__ as command
from tests.faults.promises import PROMISES, Outcome

KEPT = Outcome(tried=3, survived=3, figure="1 s")
QUICK = [name for name, row in PROMISES.items() if not row.is_slow]
SLOW = [name for name, row in PROMISES.items() if row.is_slow]


@pytest.mark.parametrize("name", QUICK)
def test_a_promise_is_kept(name: str, tmp_path: Path) -> None:
    """Nothing is lost in as many tries as a second allows."""
    found = PROMISES[name].attempt(tmp_path, PROMISES[name].briefly, random.Random(1))
    assert found.survived == found.tried, found


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_promise_that_takes_processes_is_kept(name: str, tmp_path: Path) -> None:
    """Nothing is lost in up to three tries with real signals."""
    found = PROMISES[name].attempt(tmp_path, PROMISES[name].briefly, random.Random(1))
    assert found.survived == found.tried, found


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that were finished are not tried again, at the same commit; all of them are in the table, in order."""
    monkeypatch.setattr(command, "commit", lambda: "abc1234")
    tried: list[str] = []

    def attempt(name: str) -> Outcome:
        if len(tried) == 2:
            tried.append("")
            raise KeyboardInterrupt
        tried.append(name)
        return KEPT

    file = tmp_path / "build" / "faults.json"
    with pytest.raises(KeyboardInterrupt):
        command.try_all(file, attempt=attempt)
    outcomes, _ = command.try_all(file, attempt=attempt)
    assert list(outcomes) == list(PROMISES)
    assert [name for name in tried if name] == list(PROMISES)
    assert not file.exists()


@pytest.mark.parametrize("there", ["other", "abc-dirty"])
def test_other_code_is_tried_anew(there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of another commit, or of files that were changed since, are not believed."""
    file = tmp_path / "faults.json"
    rows = {name: dataclasses.asdict(KEPT) for name in PROMISES}
    file.write_text(json.dumps({"commit": there, "seconds": 1.0, "rows": rows}))
    monkeypatch.setattr(command, "commit", lambda: "abc-dirty")
    assert command.finished_rows(file) == ({}, 0.0)


def test_what_is_lost_is_marked() -> None:
    """The row of a broken promise has its number in bold; the others have a 0."""
    first, second = list(PROMISES)[:2]
    page = command.table({first: KEPT, second: Outcome(tried=1000, survived=1, figure="**why**")}, 60.0)
    assert f"| {PROMISES[first].text} | 3 | 3 | 0 | 1 s |" in page
    assert f"| {PROMISES[second].text} | 1,000 | 1 | **999** | **why** |" in page


@pytest.mark.slow
def test_a_row_that_hangs_is_lost() -> None:
    """Its time is limited, and its end is told: nothing of it is left to disturb the next row."""
    name = next(iter(PROMISES))
    found = command.attempt(name, max_seconds=0.1)
    assert (found.survived, found.figure) == (0, "**no end within 0 s**")
