"""What the names of actions say: which of them does nothing, and which two undo each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations

IDLE = ("noop", "none", "nothing", "idle", "stay", "still")  # an action that does nothing
# Words that undo each other, those that turn the view away and back most nearly first.
DIRECTIONS = (
    ("left", "right"),
    ("up", "down"),
    ("forward", "backward"),
    ("forward", "back"),
    ("forward", "backwards"),
    ("north", "south"),
    ("west", "east"),
    ("low", "high"),
    ("slower", "faster"),
    ("counterclockwise", "clockwise"),
)


def opposites(names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs of actions of which one undoes the other: `strafe_left` and `strafe_right`, `up` and `down`.

    Two names are opposites if they are the same but for their directions, and every direction is turned round:
    `forward+left` is undone by `back+right`, not by `forward+right`. Left and right come first, then the order of
    DIRECTIONS; among equals a turn, and the shorter name.
    """
    found = []
    words = [re.split(r"([_+])", name.lower()) for name in names]
    for one, other in combinations(range(len(names)), 2):
        for first, second in ((one, other), (other, one)):
            rank = _rank(words[first], words[second])
            if rank is not None:
                order = (rank, "turn" not in words[first], len(words[first]), first, second)
                found.append((order, (first, second)))
    return [pair for _, pair in sorted(found)]


def _rank(one: list[str], other: list[str]) -> int | None:
    """Return the place in DIRECTIONS of the first direction that is turned round, None if they are no opposites."""
    if len(one) != len(other):
        return None
    rank = None
    directions = {word for pair in DIRECTIONS for word in pair}
    for a, b in zip(one, other, strict=True):
        if a == b and a not in directions:
            continue
        turned = [place for place, pair in enumerate(DIRECTIONS) if {a, b} == set(pair)]
        if not turned:
            return None
        if rank is None:  # the first word of the pair comes first: left before right
            if a != DIRECTIONS[turned[0]][0]:
                return None
            rank = turned[0]
    return rank
