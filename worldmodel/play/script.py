"""A game as a line of text that fits into a link and replays it exactly: where it begins, the seed, what was pressed.

    maze~6@38~0~t100.1x12.4x3.t80.0x2

Checkpoint, start, seed, then in order: `tN` sets the temperature to N hundredths, `AxN` is action A for N steps.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

MAX_LENGTH = 8192  # characters; Chromium and Firefox take links four times as long
MAX_STEPS = 20_000
_TOKEN = re.compile(r"t(?P<temperature>[0-9]{1,3})|(?P<action>[0-9]{1,3})x(?P<count>[0-9]{1,5})", re.ASCII)
_HEAD = re.compile(r"[\w@:.-]{1,80}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One step with an action, or, where `temperature` is given, a change of the temperature."""

    action: int | None = None
    temperature: float | None = None


@dataclass(frozen=True, kw_only=True)
class Script:
    """A game from its start. `str` gives its line of text."""

    checkpoint: str
    start: str
    seed: int
    events: tuple[Event, ...]

    def __str__(self) -> str:
        return "~".join([self.checkpoint, self.start, str(self.seed), ".".join(_tokens(self.events))])


def _tokens(events: Sequence[Event]) -> list[str]:
    tokens = []
    for event, group in groupby(events):
        count = len(list(group))
        if event.temperature is not None:
            tokens += [f"t{round(100 * event.temperature)}"] * count
        else:
            tokens.append(f"{event.action}x{count}")
    return tokens


def parse(text: str) -> Script:
    """Return the script that `text` is.

    Raises:
        ValueError: if it is none, saying where, or it is longer than MAX_LENGTH characters or MAX_STEPS steps.
    """
    fields = text.strip().split("~")
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a script has at most {MAX_LENGTH} characters, this one has {len(text)}")
    if len(fields) != 4 or not all(_HEAD.fullmatch(field) for field in fields[:2]):
        raise ValueError("a script is written CHECKPOINT~START~SEED~EVENTS, for example maze~6@38~0~t100.1x12")
    if not re.fullmatch(r"[0-9]{1,6}", fields[2], re.ASCII):
        raise ValueError(f"the seed of a script is a number of at most six digits, not {fields[2]!r}")
    events: list[Event] = []
    for token in fields[3].split(".") if fields[3] else []:
        events += _events(token)
        if len(events) > MAX_STEPS:
            raise ValueError(f"a script has at most {MAX_STEPS} steps")
    return Script(checkpoint=fields[0], start=fields[1], seed=int(fields[2]), events=tuple(events))


def _events(token: str) -> list[Event]:
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise ValueError(f"{token!r} in a script is neither an action like 1x12 nor a temperature like t80")
    if match["temperature"]:
        return [Event(temperature=int(match["temperature"]) / 100)]
    return [Event(action=int(match["action"]))] * int(match["count"])
