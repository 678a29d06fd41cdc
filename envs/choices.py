"""The named actions of an environment: what each of its action space's values is called, in a finite table.

A model knows actions by name, so a space that is not a list of actions becomes one: combinations of MultiDiscrete and
MultiBinary, a few levels of each number of a Box, or a table of the user's own, {"name": value, ...} in a JSON file.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from .names import meanings, safe_name

MAX_COMBINATIONS = 64  # of a MultiDiscrete or MultiBinary; a larger one presses one thing at a time
MAX_BOX = 9  # of a Box: all combinations of the levels of up to two numbers


def choices(env: gymnasium.Env[Any, Any], env_id: str, *, wanted: Sequence[str] | None) -> dict[str, Any]:
    """Return name -> value of the actions that a recording of `env` chooses from.

    Args:
        wanted: names to keep, in this order; or one name of a JSON file with a table; None is all of them.

    Raises:
        ValueError: if a name is unknown or comes twice, the table does not fit, or the space cannot be named.
    """
    space = env.action_space
    if wanted is not None and len(wanted) == 1 and wanted[0].endswith(".json"):
        return _read_table(Path(wanted[0]), space)
    table = default_table(env.unwrapped, env_id, space)
    for name in wanted or ():
        if name not in table:
            raise ValueError(f"no action named {name!r} ({env_id} knows: {', '.join(table)})")
    chosen = {name: table[name] for name in wanted} if wanted else table
    if wanted and len(chosen) != len(wanted):
        raise ValueError(f"actions must be named once each, got {', '.join(wanted)}")
    return chosen


def default_table(env: Any, env_id: str, space: gymnasium.Space[Any]) -> dict[str, Any]:
    """Return name -> value of every action of `space`, or of a few of them; `env` may know what they mean.

    Raises:
        ValueError: if the space cannot be named.
    """
    if isinstance(space, spaces.Discrete):
        count = int(space.n)
        return dict(zip(meanings(env, env_id, count), range(int(space.start), int(space.start) + count), strict=True))
    if isinstance(space, spaces.MultiBinary) and len(space.shape) == 1:
        return _combinations([2] * space.shape[0], space, env, env_id)
    if isinstance(space, spaces.MultiDiscrete) and len(space.shape) == 1:
        return _combinations(space.nvec.tolist(), space, env, env_id)
    if isinstance(space, spaces.Box) and len(space.shape) == 1 and space.shape[0]:
        return _levels(space)
    raise ValueError(
        f"{env_id} has the action space {space}; give a table of named actions: --set actions=table.json, "
        'with {"name": value, ...} in it'
    )


def _combinations(counts: Sequence[int], space: Any, env: Any, env_id: str) -> dict[str, Any]:
    """Name every combination `x0_1+x1_2`, or where these are too many, one thing at a time; all zero is `noop`."""
    parts = [_part_names(index, count) for index, count in enumerate(counts)]
    if all(count == 2 for count in counts):  # buttons, which may have names
        parts = [["", name] for name in meanings(env, env_id, len(counts))]
        parts = [["", f"button_{index}"] if part[1] == f"action_{index}" else part for index, part in enumerate(parts)]
    start = np.asarray(getattr(space, "start", 0)) + np.zeros(len(counts), dtype=int)
    if np.prod(counts, dtype=float) <= MAX_COMBINATIONS:
        values = list(itertools.product(*(range(count) for count in counts)))
    else:
        values = _one_at_a_time(counts)
    table = {}
    for value in values:
        name = "+".join(part[level] for part, level in zip(parts, value, strict=True) if part[level])
        table[name or "noop"] = (np.array(value) + start).astype(space.dtype)
    return table


def _part_names(index: int, count: int) -> list[str]:
    return ["", *(f"x{index}_{level}" for level in range(1, count))]


def _one_at_a_time(counts: Sequence[int]) -> list[tuple[int, ...]]:
    singles = [
        tuple(level * (place == index) for place in range(len(counts)))
        for index, count in enumerate(counts)
        for level in range(1, count)
    ]
    return [(0,) * len(counts), *singles]


def _levels(space: spaces.Box) -> dict[str, Any]:
    """Name few levels of each number of a Box: `x0_low`, `noop`, `x0_high`; of up to two numbers all combinations."""
    low = np.where(np.isfinite(space.low), space.low, -1.0)
    high = np.where(np.isfinite(space.high), space.high, 1.0)
    rest = np.clip(0.0, low, high)
    options = [
        [
            ("", rest[i]),
            *((f"x{i}_{word}", end) for word, end in (("low", low[i]), ("high", high[i])) if end != rest[i]),
        ]
        for i in range(len(low))
    ]
    if np.prod([len(option) for option in options], dtype=float) <= MAX_BOX:
        rows: Any = itertools.product(*options)
    else:
        picks = _one_at_a_time([len(option) for option in options])
        rows = ([option[level] for option, level in zip(options, pick, strict=True)] for pick in picks)
    table = {}
    for row in rows:
        name = "+".join(part for part, _ in row if part)
        table[name or "noop"] = np.array([value for _, value in row], dtype=space.dtype)
    return table


def _read_table(file: Path, space: gymnasium.Space[Any]) -> dict[str, Any]:
    """Read {"name": value, ...}; the values have to lie in the action space."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read the table of actions {file}: {error}") from error
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f'{file} has to hold {{"name": value, ...}}, one entry for each action')
    table = {}
    for name, value in content.items():
        if "+".join(safe_name(part) for part in name.split("+")) != name or name == "noop+":
            raise ValueError(f"{file}: action names are lower-case letters, digits and _ (joined by +), got {name!r}")
        action = int(value) if isinstance(space, spaces.Discrete) and isinstance(value, int) else _array(value, space)
        if not space.contains(action):
            raise ValueError(f"{file}: {name!r} is {value}, which is not in the action space {space}")
        table[name] = action
    return table


def _array(value: Any, space: gymnasium.Space[Any]) -> Any:
    try:
        return np.asarray(value, dtype=space.dtype)
    except (ValueError, TypeError):
        return None
