"""Actions by name: their canonical spelling, the buttons they press, and the default set of a game."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

# In canonical order. left and right are turns. ViZDoom's buttons are mapped by name: its Discrete order is reversed.
BUTTONS = {
    "forward": "MOVE_FORWARD",
    "back": "MOVE_BACKWARD",
    "left": "TURN_LEFT",
    "right": "TURN_RIGHT",
    "strafe_left": "MOVE_LEFT",
    "strafe_right": "MOVE_RIGHT",
    "attack": "ATTACK",
    "use": "USE",
}
NOOP = "noop"
DEFAULT_ACTIONS = (
    "noop",
    "forward",
    "back",
    "left",
    "right",
    "forward+left",
    "forward+right",
    "strafe_left",
    "strafe_right",
    "attack",
    "use",
)


def canonical(name: str, available: Collection[str]) -> str:
    """Return `name` with its `+` parts in canonical order: `left+forward` is `forward+left`.

    Raises:
        ValueError: if a part is not one of `available` (the nearest is suggested) or is named twice.
    """
    parts = name.split("+")
    for part in parts:
        if part not in available and not (part == NOOP and len(parts) == 1):
            near = difflib.get_close_matches(part, [NOOP, *available], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"no action named {part!r}{hint} (this game knows: {', '.join([NOOP, *available])})")
    if len(set(parts)) != len(parts):
        raise ValueError(f"action {name!r} presses a button twice")
    return "+".join(sorted(parts, key=[NOOP, *BUTTONS].index))


def default_actions(buttons: Collection[str]) -> tuple[str, ...]:
    """Return the default actions of a game that has the engine buttons `buttons`."""
    return tuple(name for name in DEFAULT_ACTIONS if all(BUTTONS[part] in buttons for part in _parts(name)))


def choose_actions(names: Sequence[str] | None, buttons: Collection[str]) -> tuple[str, ...]:
    """Return the canonical action names of a game with the engine buttons `buttons`: `names`, or the default set.

    Raises:
        ValueError: if a name is unknown to the game or comes twice.
    """
    if names is None:
        return default_actions(buttons)
    available = [name for name, button in BUTTONS.items() if button in buttons]
    chosen = tuple(canonical(name, available) for name in names)
    if len(set(chosen)) != len(chosen) or not chosen:
        raise ValueError(f"actions must be at least one name, each once, got {', '.join(names) or 'none'}")
    return chosen


def presses(name: str, buttons: Sequence[str]) -> list[int]:
    """Return which of the engine's `buttons` the action `name` holds down, as 0 or 1 in their order."""
    held = {BUTTONS[part] for part in _parts(name)}
    return [int(button in held) for button in buttons]


def _parts(name: str) -> list[str]:
    return [] if name == NOOP else name.split("+")
