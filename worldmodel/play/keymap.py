"""From keys to actions: the buttons that a game's action names are made of, their keys, and what they mean together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..action_names import IDLE, opposites

# Button -> the keys that press it, as KeyboardEvent.code names them, so that WASD lies where it should on any layout.
KEYS = {
    "forward": ("KeyW", "ArrowUp"),
    "up": ("KeyW", "ArrowUp"),
    "back": ("KeyS", "ArrowDown"),
    "backward": ("KeyS", "ArrowDown"),
    "down": ("KeyS", "ArrowDown"),
    "left": ("KeyA", "ArrowLeft"),
    "right": ("KeyD", "ArrowRight"),
    "strafe_left": ("KeyQ",),
    "strafe_right": ("KeyE",),
    "attack": ("Space",),
    "fire": ("Space",),
    "jump": ("Space",),
    "use": ("KeyF",),
}
OTHER_KEYS = tuple(f"Key{letter}" for letter in "JKLUIOGHBNVC")  # for buttons that no convention exists for
COMPOUND = re.compile(r"(up|down)?_?(left|right)?_?(fire)?")  # Atari's: upright, downleftfire


@dataclass(frozen=True, kw_only=True)
class Button:
    """One thing to press: its name, and the keys that press it."""

    name: str
    keys: tuple[str, ...]


def parts(name: str) -> tuple[str, ...]:
    """Return the buttons that an action presses together: forward+left, or Atari's upright; nothing for noop."""
    if name in IDLE:
        return ()
    if name in KEYS or "+" in name:
        return tuple(name.split("+"))
    compound = COMPOUND.fullmatch(name)
    return tuple(part for part in compound.groups() if part) if compound else (name,)


def buttons(action_names: Sequence[str]) -> tuple[Button, ...]:
    """Return the buttons of a game, each with keys that no other of its buttons has."""
    names = list(dict.fromkeys(part for name in action_names for part in parts(name)))
    taken: set[str] = set()
    spare = iter(OTHER_KEYS)
    result = []
    for name in names:
        keys = tuple(key for key in KEYS.get(name, ()) if key not in taken)
        if not keys:
            keys = tuple(key for key in [next(spare, "")] if key)
        taken |= set(keys)
        result.append(Button(name=name, keys=keys))
    return tuple(result)


@lru_cache(maxsize=16)
def exclusive(action_names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of a game's buttons that mean nothing together: left and right."""
    names = [button.name for button in buttons(action_names)]
    return tuple((names[one], names[other]) for one, other in opposites(names))


def choose_action(pressed: Sequence[str], action_names: Sequence[str]) -> int | None:
    """Return the action that best fits what is held down, oldest press first; None if the game should wait.

    Of two opposite buttons the newer counts, then the action with most of the buttons, then the newest button's. A
    name in `pressed` that is an action and no single button (number keys) is that action. Without a press it is the
    game's idle action, if it has one.
    """
    whole = [name for name in pressed if name in action_names and parts(name) != (name,)]
    if whole:
        return list(action_names).index(whole[-1])
    held: list[str] = []
    for name in pressed:
        against = {other for pair in exclusive(tuple(action_names)) if name in pair for other in pair if other != name}
        held = [other for other in held if other not in against and other != name] + [name]
    best: tuple[int, int, int] | None = None
    chosen = next((index for index, name in enumerate(action_names) if name in IDLE), None)
    for index, name in enumerate(action_names):
        needed = parts(name)
        if not needed or not set(needed) <= set(held):
            continue
        score = (len(needed), max(held.index(part) for part in needed), -index)
        if best is None or score > best:
            best, chosen = score, index
    return chosen
