"""Every promise of docs/reliability.md, tried a few times."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import tests.faults.rows  # noqa: F401 - fills PROMISES
from tests.faults.promises import PROMISES

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
