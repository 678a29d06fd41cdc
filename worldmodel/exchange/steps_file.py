"""The steps of one episode in a file beside its frames: CSV, JSON lines or NPZ.

One row a step, with `action` (a name or a number) and, where they are known, `reward`, `terminated` and `truncated`.
Row t is what was done after frame t, and led to frame t+1.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SUFFIXES = (".csv", ".jsonl", ".npz")
COLUMNS = ("action", "reward", "terminated", "truncated")
TRUE = {"true", "1", "1.0", "yes"}


@dataclass(frozen=True, kw_only=True)
class StepTable:
    """N steps: actions as they stand in the file, names or whole numbers; how the last one ended the episode."""

    actions: tuple[str | int, ...]
    rewards: tuple[float, ...]
    terminated: bool
    truncated: bool


def read_steps(file: Path) -> StepTable:
    """Read a file of steps.

    Raises:
        ValueError: if it cannot be read, has no actions, or its columns do not fit each other.
    """
    try:
        columns = {".csv": _read_csv, ".jsonl": _read_jsonl, ".npz": _read_npz}[file.suffix](file)
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ValueError(f"cannot read the steps in {file}: {error}") from error
    actions = [_action(value, file) for value in columns.get("action", columns.get("actions", []))]
    if not actions:
        raise ValueError(f"{file} has no column named action")
    rewards = [float(value or 0) for value in columns.get("reward", columns.get("rewards", [0.0] * len(actions)))]
    ends = {name: [_is_true(value) for value in columns.get(name, [False])] for name in ("terminated", "truncated")}
    if len(rewards) != len(actions):
        raise ValueError(f"{file} has {len(actions)} actions and {len(rewards)} rewards")
    return StepTable(
        actions=tuple(actions),
        rewards=tuple(rewards),
        terminated=ends["terminated"][-1],
        truncated=ends["truncated"][-1],
    )


def _read_csv(file: Path) -> Mapping[str, Sequence[Any]]:
    with open(file, newline="", encoding="utf-8-sig") as stream:
        rows = [row for row in csv.reader(stream) if row]
    if rows and "action" not in [cell.strip() for cell in rows[0]] and all(len(row) == 1 for row in rows):
        return {"action": [row[0] for row in rows]}  # one action a line, without a heading
    header = [cell.strip() for cell in rows[0]] if rows else []
    return {name: [row[place] for row in rows[1:]] for place, name in enumerate(header)}


def _read_jsonl(file: Path) -> Mapping[str, Sequence[Any]]:
    rows = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
    rows = [row if isinstance(row, dict) else {"action": row} for row in rows]
    return {name: [row.get(name) for row in rows] for name in COLUMNS if any(name in row for row in rows)}


def _read_npz(file: Path) -> Mapping[str, Sequence[Any]]:
    with np.load(file) as arrays:
        return {name: np.atleast_1d(arrays[name]).tolist() for name in arrays.files}


def _action(value: Any, file: Path) -> str | int:
    if isinstance(value, str) and value.strip().lstrip("-").isdigit():
        return int(value)
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer():
        return int(value)
    raise ValueError(f"{file}: an action is a name or a whole number, got {value!r}")


def _is_true(value: Any) -> bool:
    return str(value).strip().lower() in TRUE
