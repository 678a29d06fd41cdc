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
    order = [NOOP, *BUTTONS]
    return "+".join(sorted(parts, key=lambda part: (order.index(part), "") if part in order else (len(order), part)))


def default_actions(buttons: Collection[str]) -> tuple[str, ...]:
    """Return the default actions of a game that has the engine buttons `buttons`: the usual ones, or one a button."""
    usual = tuple(name for name in DEFAULT_ACTIONS if all(BUTTONS[part] in buttons for part in _parts(name)))
    return usual if len(usual) > 1 else (NOOP, *button_names(buttons))


def button_names(buttons: Collection[str]) -> dict[str, str]:
    """Return name -> engine button of what can be pressed: `select_weapon1` is SELECT_WEAPON1; no analogue ones."""
    usual = {name: button for name, button in BUTTONS.items() if button in buttons}
    other = {button.lower(): button for button in buttons if button not in BUTTONS.values() and "DELTA" not in button}
    return usual | other


def choose_actions(names: Sequence[str] | None, buttons: Collection[str]) -> tuple[str, ...]:
    """Return the canonical action names of a game with the engine buttons `buttons`: `names`, or the default set.

    Raises:
        ValueError: if a name is unknown to the game or comes twice.
    """
    if names is None:
        return default_actions(buttons)
    chosen = tuple(canonical(name, button_names(buttons)) for name in names)
    if len(set(chosen)) != len(chosen) or not chosen:
        raise ValueError(f"actions must be at least one name, each once, got {', '.join(names) or 'none'}")
    return chosen


def presses(name: str, buttons: Sequence[str]) -> list[int]:
    """Return which of the engine's `buttons` the action `name` holds down, as 0 or 1 in their order."""
    known = button_names(buttons)
    held = {known[part] for part in _parts(name)}
    return [int(button in held) for button in buttons]


def _parts(name: str) -> list[str]:
    return [] if name == NOOP else name.split("+")
