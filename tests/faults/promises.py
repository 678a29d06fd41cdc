"""What a row of the table is: a promise, and a function that tries something bad and counts how often nothing was lost.

A new row is a function with the decorator `promise` in a file of `rows/`; its docstring is what is promised.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

QUICK_TRIES, SLOW_TRIES = 24, 3
SPAWN = [sys.executable, "-P", "-m", "worldmodel"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How often something was tried, how often nothing was lost, and what else was measured."""

    tried: int
    survived: int
    figure: str = ""


Attempt = Callable[[Path, int, random.Random], Outcome]  # in this folder, so many times, with this randomness


@dataclass(frozen=True, kw_only=True)
class Promise:
    """A row of the table: what is promised, how to try it, how often in full and in a test, and if that takes long."""

    text: str
    attempt: Attempt
    times: int
    briefly: int
    is_slow: bool


PROMISES: dict[str, Promise] = {}


def promise(times: int, *, briefly: int = 0, is_slow: bool = False) -> Callable[[Attempt], Attempt]:
    """Add the function to the table, to be tried `times` times in full and `briefly` times in a test (0: the usual)."""
    usual = min(times, SLOW_TRIES if is_slow else QUICK_TRIES)

    def add(attempt: Attempt) -> Attempt:
        text = str(attempt.__doc__)
        tries = briefly or usual
        PROMISES[attempt.__name__] = Promise(text=text, attempt=attempt, times=times, briefly=tries, is_slow=is_slow)
        return attempt

    return add


def is_refused(call: Callable[[], object]) -> bool:
    """Whether a call ends in an error of one line."""
    try:
        call()
    except ValueError as error:
        return "\n" not in str(error)
    return False


def flipped(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)
