"""Is one evaluation better than another? The same clips are compared one by one, so that what they share drops out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..answers import Answer, from_json
from ..harness.run import METRICS, SCHEMA
from ..metrics.intervals import paired, sign_flips

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
    if not isinstance(metrics, dict) or ("answers" not in metrics and "parts" not in metrics):
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


def answers_of(metrics: Mapping[str, Any]) -> dict[str, Answer]:
    """Return the answers in the content of a metrics.json, typed.

    Raises:
        ValueError: if one is damaged.
    """
    return {name: from_json(answer) for name, answer in metrics["answers"].items()}


def shared(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Pair]:
    """Return every number that both have, by its path; of numbers by step the mean over the steps."""
    left, right = dict(_numbers(answers_of(first))), dict(_numbers(answers_of(second)))
    return {path: Pair(first=left[path], second=right[path]) for path in left if path in right}


def clip_by_clip(first: Mapping[str, Any], second: Mapping[str, Any], *, seed: int = 0) -> dict[str, Paired]:
    """Return every mean over clips for which both have the values, by its path, with how sure the difference is.

    Values by step are averaged over the steps of a clip first: the steps of a clip are no independent witnesses. Of a
    single clip nothing is sure, so it is left out.

    Raises:
        ValueError: if the two have another number of clips.
    """
    left, right = dict(_clips(answers_of(first))), dict(_clips(answers_of(second)))
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
        assert interval.low is not None
        assert interval.high is not None
        found[path] = Paired(
            first=float(ours.mean()),
            second=float(theirs.mean()),
            low=interval.low,
            high=interval.high,
            p=sign_flips(theirs - ours, np.random.default_rng(seed)),
        )
    return found


def _numbers(answers: Mapping[str, Answer]) -> Iterator[tuple[str, float]]:
    for question, answer in answers.items():
        for name, scalar in answer.scalars.items():
            if not isinstance(scalar.value, str | bool):
                yield f"{question}/{name}", scalar.number
        for name, table in answer.tables.items():
            for row, cells in table.rows.items():
                for column, scalar in zip(table.columns, cells, strict=True):
                    if not isinstance(scalar.value, str | bool):
                        yield f"{question}/{name}/{row}/{column}", scalar.number
        for name, series in answer.series.items():
            for row, curve in series.rows.items():
                yield f"{question}/{name}/{row}, mean of {len(series.steps)} steps", curve.average


def _clips(answers: Mapping[str, Answer]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield all values clip by clip, by their path, as one number a clip: (b)."""
    for question, answer in answers.items():
        for name, values in answer.clips.items():
            array = np.array(values, np.float64)
            yield f"{question}/{name}", array.reshape(len(array), -1).mean(1)
