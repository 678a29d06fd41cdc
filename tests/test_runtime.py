"""Devices, number formats and threads."""

from __future__ import annotations

import platform
import subprocess
import sys
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_freed_memory_is_used_again() -> None:
    """Megabytes that are freed and allocated again and again cost no new pages from the system."""
    code = """
import resource, torch
from worldmodel.runtime import keep_freed_memory
def pages(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        torch.ones(1 << 21)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
fresh = pages(20)
keep_freed_memory()
pages(2)
print(fresh, pages(20))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    fresh, kept = map(int, run.stdout.split())
    assert kept * 20 < fresh
