"""The grammar of `--action`: `,` separates videos, `+` presses together, `/` then, `:N` holds for N steps.

    forward,right                     two videos: all forward, all right
    forward:5/forward+right:3/left    one video: 5 steps forward, 3 in a curve, then left to the end
    none                              one video without actions

A press without `:N` lasts one step; the last one is held to the end.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .action_names import IDLE, opposites

NONE = "none"
UNKNOWN_ACTION = -1  # the index that stands for "unknown", as in types.py, which imports torch
MAX_NAME_LENGTH = 80


@dataclass(frozen=True, kw_only=True)
class Press:
    """One action, held for `steps` steps: its index among the model's action names and its name there."""

    name: str
    index: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class Script:
    """What is pressed in one video. `text` is canonical: parsing it again gives the same script."""

    text: str
    presses: tuple[Press, ...]

    @property
    def min_steps(self) -> int:
        """The steps that it takes to come to the end of the script."""
        return sum(press.steps for press in self.presses)

    @property
    def is_none(self) -> bool:
        """Whether the video is to be imagined without actions."""
        return self.presses[0].index == UNKNOWN_ACTION

    def expand(self, num_steps: int) -> np.ndarray:
        """Return the action of each step, int64 (num_steps,), the last press held to the end.

        Raises:
            ValueError: if the script is longer than `num_steps`.
        """
        indices = np.array([press.index for press in self.presses], dtype=np.int64)
        return np.repeat(indices, self._durations(num_steps))

    def names(self, num_steps: int) -> tuple[str, ...]:
        """Return the name of each step's action; see `expand`."""
        durations = self._durations(num_steps)
        return tuple(press.name for press, steps in zip(self.presses, durations, strict=True) for _ in range(steps))

    def _durations(self, num_steps: int) -> list[int]:
        if self.min_steps > num_steps:
            raise ValueError(f"action {self.text!r} takes {self.min_steps} steps, but only {num_steps} are imagined")
        *first, last = [press.steps for press in self.presses]
        return [*first, last + num_steps - self.min_steps]


def parse(text: str, action_names: Sequence[str]) -> tuple[Script, ...]:
    """Return the script of each video that `text` asks for.

    Buttons may be named in any order: `right+forward` is the action `forward+right`. Spaces do not matter.

    Raises:
        ValueError: saying where and why, with the nearest known name for an unknown one.
    """
    scripts = []
    start = 0
    for part in text.split(","):
        scripts.append(_script(text, part, start, action_names))
        start += len(part) + 1
    return tuple(scripts)


def example(action_names: Sequence[str]) -> str:
    """Return a script of two videos, or of as many as a model has actions for, that shows what its actions do.

    `forward,right` where there are these, else two that undo each other, else the first two that do something.
    """
    if {"forward", "right"} <= set(action_names):
        return "forward,right"
    pairs = [f"{action_names[one]},{action_names[other]}" for one, other in opposites(action_names)]
    return pairs[0] if pairs else ",".join([name for name in action_names if name not in IDLE][:2]) or NONE


def _script(text: str, part: str, start: int, action_names: Sequence[str]) -> Script:
    presses = []
    position = start
    words = part.split("/")
    for word in words:
        presses.append(_press(text, word, position, action_names))
        position += len(word) + 1
    if len(presses) > 1 and any(press.index == UNKNOWN_ACTION for press in presses):
        raise _error(text, part, start, f"{NONE!r} is for a whole video and cannot be mixed with actions")
    return Script(text="/".join(_spell(press) for press in presses), presses=tuple(presses))


def _spell(press: Press) -> str:
    return press.name if press.steps == 1 else f"{press.name}:{press.steps}"


def _press(text: str, word: str, position: int, action_names: Sequence[str]) -> Press:
    buttons, colon, count = word.partition(":")
    if not buttons.strip():
        raise _error(text, word, position, "an action is missing")
    if colon and not re.fullmatch(r"\s*0*[1-9][0-9]{0,8}\s*", count, re.ASCII):
        reason = f"after ':' comes a number of steps, at least 1, not {count.strip()!r}"
        raise _error(text, count, position + len(buttons) + 1, reason)
    index = _find(text, buttons, position, action_names)
    name = NONE if index == UNKNOWN_ACTION else action_names[index]
    return Press(name=name, index=index, steps=int(count) if colon else 1)


def _find(text: str, buttons: str, position: int, action_names: Sequence[str]) -> int:
    """Return the index of the action that presses `buttons` together, in whatever order they are named."""
    parts = [part.strip() for part in buttons.split("+")]
    if parts == [NONE]:
        return UNKNOWN_ACTION
    known = {frozenset(name.split("+")): index for index, name in enumerate(action_names)}
    if "" in parts:
        raise _error(text, buttons, position, "a button is missing beside '+'")
    if len(set(parts)) != len(parts):
        raise _error(text, buttons, position, f"{buttons.strip()!r} presses a button twice")
    if frozenset(parts) not in known:
        raise _error(text, buttons, position, _unknown("+".join(parts), action_names))
    return known[frozenset(parts)]


def _unknown(name: str, action_names: Sequence[str]) -> str:
    names = [*action_names, NONE]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"no action {name!r}{hint} (actions: {', '.join(names)})"


def _error(text: str, word: str, position: int, reason: str) -> ValueError:
    """Return the error that `word`, which stands at `position` of `text`, causes."""
    skipped = len(word) - len(word.lstrip())
    place = f" at character {position + skipped + 1}" if len(text) > len(word) else ""
    return ValueError(f"action {text!r}{place}: {reason}")


def file_names(scripts: Sequence[Script], *, reserved: Sequence[str] = ()) -> list[str]:
    """Return a name for the file of each script: safe on every file system, and unique.

    `forward:5/forward+right:3/left` becomes `forward-5_forward+right-3_left`. A name that another script or
    `reserved` has, in whatever case, gets a number: `forward,forward` gives `forward` and `forward.2`.
    """
    taken = {name.casefold() for name in reserved}
    names = []
    for script in scripts:
        stem = re.sub(r"[^A-Za-z0-9_+-]", "_", script.text.replace(":", "-"))[:MAX_NAME_LENGTH]
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}.{number}"
        taken.add(name.casefold())
        names.append(name)
    return names
