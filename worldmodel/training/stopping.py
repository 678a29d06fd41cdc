"""SIGINT and SIGTERM: remembered by a run, which ends when it has saved, and an exception everywhere else."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class Stopped(KeyboardInterrupt):
    """A signal asked for the end: what Ctrl-C raises, with the number of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def raise_stopped(number: int, frame: FrameType | None) -> NoReturn:
    """Raise `Stopped`, as the handler of a signal."""
    raise Stopped(number)


@contextmanager
def handled(number: int, handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have a signal handled by `handler`, and as before afterwards; outside of the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, previous)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Yield a list to which each SIGINT and SIGTERM is added; outside of the main thread it stays empty."""
    seen: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        seen.append(number)

    with handled(signal.SIGINT, remember), handled(signal.SIGTERM, remember):
        yield seen
