"""Is one evaluation better than another? The same clips are compared one by one, so that what they share drops out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..harness.run import METRICS, SCHEMA
from ..metrics.intervals import paired, sign_flips
from .tables import HIDDEN, curve, is_number

SAME = ("clips", "context", "seed", "quick")  # settings that decide which clips were drawn, and how many


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A number that both evaluations have."""

    first: float
    second: float

    @property
    def difference(self) -> float:
        """How much more the second has."""
        return self.second - self.first


@dataclass(frozen=True, kw_only=True)
class Paired(Pair):
    """A mean over clips that both have clip by clip."""

    low: float  # 95% bootstrap interval of the difference
    high: float
    p: float  # how often chance alone makes a difference as large


def load(path: Path) -> dict[str, Any]:
    """Return the content of a metrics.json, or of the one in a directory.

    Raises:
        ValueError: if it is none, or another version's.
    """
    file = path / METRICS if path.is_dir() else path
    try:
        metrics = json.loads(file.read_text())
    except FileNotFoundError:
        raise ValueError(f"no {file}; worldmodel evaluate writes one") from None
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}") from None
    if not isinstance(metrics, dict) or "parts" not in metrics:
        raise ValueError(f"{file} is no metrics.json of worldmodel evaluate")
    if metrics.get("schema") != SCHEMA:
        raise ValueError(f"{file} has schema {metrics.get('schema')!r}; this version compares {SCHEMA}: evaluate again")
    return metrics


def check_comparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Refuse two evaluations whose clips are not the same.

    Raises:
        ValueError: naming what differs.
    """
    differences = [
        f"{name} {first['settings'][name]!r} and {second['settings'][name]!r}"
        for name in SAME
        if first["settings"][name] != second["settings"][name]
    ]
    prints = [metrics["data"]["fingerprint"] for metrics in (first, second)]
    if prints[0] != prints[1]:
        differences.insert(0, f"data {prints[0][:12]} and {prints[1][:12]}")
    if differences:
        raise ValueError(f"the two were not asked about the same clips: {'; '.join(differences)}")


def shared(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Pair]:
    """Return every number that both have, by its path; of numbers by step the mean over the steps."""
    left, right = dict(_numbers(first["parts"])), dict(_numbers(second["parts"]))
    return {path: Pair(first=left[path], second=right[path]) for path in left if path in right}


def clip_by_clip(first: Mapping[str, Any], second: Mapping[str, Any], *, seed: int = 0) -> dict[str, Paired]:
    """Return every mean over clips for which both have the values, by its path, with how sure the difference is.

    Values by step are averaged over the steps of a clip first: the steps of a clip are no independent witnesses. Of a
    single clip nothing is sure, so it is left out.

    Raises:
        ValueError: if the two have another number of clips.
    """
    left, right = dict(_clips(first["parts"])), dict(_clips(second["parts"]))
    found = {}
    for path in left:
        if path not in right:
            continue
        ours, theirs = left[path], right[path]
        if len(ours) != len(theirs):
            raise ValueError(f"{path} has {len(ours)} clips in the one and {len(theirs)} in the other")
        if len(ours) == 1:
            continue
        interval = paired(theirs, ours, np.random.default_rng(seed))
        found[path] = Paired(
            first=float(ours.mean()),
            second=float(theirs.mean()),
            low=interval["low"],
            high=interval["high"],
            p=sign_flips(theirs - ours, np.random.default_rng(seed)),
        )
    return found


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield path, float(value)
    elif (found := curve(value)) is not None:
        yield f"{path}, mean of {len(found.mean)} steps", float(np.mean(found.mean))
    elif is_number(value):
        yield path, float(value["mean"])
    elif isinstance(value, Mapping):
        for name, part in value.items():
            if name not in HIDDEN:
                yield from _numbers(part, f"{path}/{name}" if path else name)


def _clips(value: Any, path: str = "", *, inside: bool = False) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each array below a "per_clip", by its path, as one number a clip: (b)."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            below = path if name == "per_clip" else f"{path}/{name}" if path else name
            yield from _clips(part, below, inside=inside or name == "per_clip")
    elif inside and isinstance(value, list) and value:
        array = np.array(value, np.float64)
        yield path, array.reshape(len(array), -1).mean(1)
