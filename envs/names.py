"""Names for the actions of a Gymnasium environment: its own meanings, made unique and safe in a shell and a script."""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

RESERVED = {"none": "noop"}  # `none` stands for a whole video without actions
# What Gymnasium's pages say of the actions of environments that do not say it themselves.
MEANINGS = {
    "CartPole": "left right",
    "Acrobot": "torque_left noop torque_right",
    "MountainCar": "left noop right",
    "LunarLander": "noop left_engine main_engine right_engine",
    "CarRacing": "noop right left gas brake",
    "CliffWalking": "up right down left",
    "FrozenLake": "left down right up",
    "Taxi": "south north east west pickup dropoff",
    "Blackjack": "stick hit",
}


def meanings(env: Any, env_id: str, count: int) -> tuple[str, ...]:
    """Return a name for each of `count` discrete actions, in their order: unique, shell-safe, `noop` for nothing.

    Meanings that are not one for each action cannot be trusted: then the names are `action_0`, `action_1`, ...
    """
    given = _given(env) or MEANINGS.get(re.sub(r"-v\d+$", "", env_id.rpartition(":")[2]), "").split()
    return unique(given if len(given) == count else [f"action_{index}" for index in range(count)])


def _given(env: Any) -> list[str]:
    """Return what the environment says of its actions; empty if it says nothing that can be read."""
    said = getattr(env, "get_action_meanings", None)
    said = said() if callable(said) else said
    if said is None:
        said = getattr(getattr(env, "action_type", None), "actions", None)  # highway-env
    if said is None:
        said = getattr(env, "actions", None)  # MiniGrid: an enum
    if isinstance(said, type) and issubclass(said, enum.Enum):
        said = {member.value: name for name, member in said.__members__.items()}
    if isinstance(said, Mapping):
        said = [said[index] for index in range(len(said))] if set(said) == set(range(len(said))) else None
    if isinstance(said, str) or not isinstance(said, Sequence):
        return []
    return [str(name) for name in said]


def unique(names: Sequence[str], *, joined: bool = False) -> tuple[str, ...]:
    """Return `names` as action names: letters, digits and `_`, each once; what is equal gets a number.

    Args:
        joined: whether a `+` in a name joins buttons that are pressed together.
    """
    clean = _safe_joined if joined else safe_name
    safe = [clean(name) or f"action_{index}" for index, name in enumerate(names)]
    found: list[str] = []
    for name in safe:
        number, numbered = 1, name
        while numbered in found or (number > 1 and numbered in safe):
            number += 1
            numbered = f"{name}_{number}"
        found.append(numbered)
    return tuple(found)


def safe_name(text: str) -> str:
    """Return `text` in lower-case ASCII letters, digits and `_`: `Move left` is `move_left`."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    return RESERVED.get(name, name)


def _safe_joined(text: str) -> str:
    parts = [safe_name(part) for part in text.split("+")]
    return "+".join(parts) if all(parts) and len(set(parts)) == len(parts) else safe_name(text)
