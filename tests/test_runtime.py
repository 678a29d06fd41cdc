"""Devices, number formats and threads."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch

from worldmodel import runtime
from worldmodel.runtime import choose_threads


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(runtime, "_cores", lambda: {0, 1, 2, 3})
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("milliseconds", "best"), [({1: 8, 2: 4, 4: 12}, 2), ({1: 8, 2: 7.8, 4: 7.6}, 1)])
def test_the_quickest_number_of_threads_is_used(milliseconds: dict[int, float], best: int) -> None:
    """The count that is clearly quickest wins; a tie goes to fewer threads."""
    assert choose_threads(lambda: time.sleep(milliseconds[torch.get_num_threads()] / 1000)) == best
    assert torch.get_num_threads() == best


def test_the_environment_decides_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """With OMP_NUM_THREADS set nothing is measured and nothing changed."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    assert choose_threads(lambda: pytest.fail("was measured")) == before
