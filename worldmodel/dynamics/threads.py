"""The rows of a batch in slices and in threads: games do not depend on one another."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from ..runtime import autocast
from ..types import FrameActions, FrameCodes
from .cache import ContextCache
from .expectation import Expectation
from .features import Features
from .model import Dynamics

T = TypeVar("T")

MIN_ROWS_PER_THREAD = 4  # games; fewer are not worth a thread of their own
ROWS_AT_ONCE = 8  # games in the context transformer: fewer cost more calls, more leave the caches


def in_threads(work: Callable[[slice], T], rows: int, *, at_most: int | None = None) -> list[T]:
    """Return the results of `work` on slices of so many rows, in their order, computed in torch's number of threads.

    Each of several threads computes alone: torch's operations within it start no threads of their own.

    Args:
        work: is called with each slice.
        rows: how many there are, at least 1.
        at_most: rows of a slice; None for one slice a thread.
    """
    intraop = torch.get_num_threads()
    threads = min(intraop, max(1, rows // MIN_ROWS_PER_THREAD))
    slices = _slices(rows, threads if at_most is None else threads * -(-rows // (threads * at_most)))
    if threads == 1:
        return [work(each) for each in slices]
    inference = torch.is_inference_mode_enabled()  # each thread has a mode of its own

    def run(each: slice) -> T:
        with torch.inference_mode(inference), torch.no_grad():
            return work(each)

    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(run, slices))
    finally:
        torch.set_num_threads(intraop)  # a thread's own number is also what threads that begin later take


def _slices(rows: int, number: int) -> list[slice]:
    bounds = [rows * i // number for i in range(number + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(bounds) if start < end]


def observe(
    dynamics: Dynamics,
    codes: FrameCodes,
    actions: FrameActions,
    cache: ContextCache,
    expectation: Expectation | None = None,
    *,
    precision: str,
) -> Features:
    """Do what `Dynamics.observe` does, in `precision`; on a CPU a few rows at a time, in threads."""

    def part(rows: slice, cache: ContextCache) -> Features:
        expected = None if expectation is None else expectation.map(lambda each: each[rows])
        with autocast(dynamics.device, precision=precision):
            return dynamics.observe(codes[rows], actions[rows], cache, expected)

    if len(codes) == 1 or dynamics.device.type != "cpu":
        return part(slice(None), cache)

    def observed(rows: slice) -> tuple[Features, ContextCache]:
        mine = cache.part(rows)
        return part(rows, mine), mine

    features, caches = zip(*in_threads(observed, len(codes), at_most=ROWS_AT_ONCE), strict=True)
    cache.join(caches)
    return Features.cat(features)
