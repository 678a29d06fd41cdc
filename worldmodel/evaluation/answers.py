"""What a question answers, typed: scalars, series by step, tables, claims that must hold, and values clip by clip."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

Figure = float | int | str


@dataclass(frozen=True)
class Scalar:
    """One figure, with the 95% interval of a mean over clips where it is one."""

    value: Figure
    low: float | None = None
    high: float | None = None

    @property
    def number(self) -> float:
        """The value, of a scalar that is a number.

        Raises:
            ValueError: if it is text.
        """
        if isinstance(self.value, str):
            raise ValueError(f"{self.value!r} is no number")
        return float(self.value)


@dataclass(frozen=True)
class Curve:
    """A number by step, with its 95% interval where it is a mean over clips."""

    mean: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None

    @property
    def average(self) -> float:
        """The mean over the steps."""
        return sum(self.mean) / len(self.mean)

    def at(self, index: int) -> Scalar:
        """Return the number of one step, by its position."""
        bounds = (None if self.low is None else self.low[index], None if self.high is None else self.high[index])
        return Scalar(self.mean[index], *bounds)


@dataclass(frozen=True)
class Series:
    """Numbers by step: one curve a row, all of `len(steps)` numbers. The title names the unit."""

    title: str
    steps: tuple[float, ...]
    rows: Mapping[str, Curve]

    def __post_init__(self) -> None:
        """Our own mistake: a curve of another length than the steps."""
        assert self.rows, f"{self.title} has no row"
        assert all(len(curve.mean) == len(self.steps) for curve in self.rows.values()), self.title


@dataclass(frozen=True)
class Table:
    """Scalars in rows and columns; the title names the unit."""

    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[Scalar, ...]]

    def __post_init__(self) -> None:
        """Our own mistake: a row of another length than the columns."""
        assert all(len(row) == len(self.columns) for row in self.rows.values()), self.title

    def __getitem__(self, place: tuple[str, str]) -> Scalar:
        """Return the scalar at a row and a column, by their names."""
        row, column = place
        return self.rows[row][self.columns.index(column)]

    def column(self, name: str) -> dict[str, Scalar]:
        """Return the scalars of one column by row."""
        index = self.columns.index(name)
        return {row: cells[index] for row, cells in self.rows.items()}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement that holds for every model if the measurement is right."""

    text: str
    holds: bool
    figures: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # NumPy's truth values and numbers are none of JSON's.
        object.__setattr__(self, "holds", bool(self.holds))
        object.__setattr__(self, "figures", {name: float(value) for name, value in self.figures.items()})


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG, base64, and what it shows."""

    png: str
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """All that a question answers. Names are paths: "10/psnr" is the PSNR over ten steps."""

    scalars: Mapping[str, Scalar] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    series: Mapping[str, Series] = field(default_factory=dict)
    clips: Mapping[str, list[Any]] = field(default_factory=dict)  # values clip by clip, (b) or (b n), for comparisons
    claims: Sequence[Claim] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)  # what could not be measured, and why
    pictures: Mapping[str, Picture] = field(default_factory=dict)

    def __or__(self, other: Answer) -> Answer:
        """Return both answers as one."""
        parts = {part.name: getattr(self, part.name) for part in fields(self)}
        for name, ours in parts.items():
            theirs = getattr(other, name)
            parts[name] = (*ours, *theirs) if name == "claims" else {**ours, **theirs}
        return Answer(**parts)


def to_json(answer: Answer, *, pictures: bool = True) -> dict[str, Any]:
    """Return an answer as JSON holds it, floats at six digits; parts that are empty are left out.

    Raises:
        AssertionError: naming what is NaN or infinite: our own mistake.
    """
    content: dict[str, Any] = {
        "scalars": {name: _scalar(value) for name, value in answer.scalars.items()},
        "tables": {
            name: {
                "title": table.title,
                "columns": list(table.columns),
                "rows": {row: [_scalar(cell) for cell in cells] for row, cells in table.rows.items()},
            }
            for name, table in answer.tables.items()
        },
        "series": {
            name: {
                "title": series.title,
                "steps": list(series.steps),
                "rows": {row: _curve(curve) for row, curve in series.rows.items()},
            }
            for name, series in answer.series.items()
        },
        "clips": dict(answer.clips),
        "claims": [{"text": row.text, "holds": row.holds, "figures": dict(row.figures)} for row in answer.claims],
        "skipped": dict(answer.skipped),
    }
    if pictures:
        content["pictures"] = {name: {"png": p.png, "caption": p.caption} for name, p in answer.pictures.items()}
    odd = list(_not_finite(content))
    assert not odd, f"an answer holds what is no number: {odd}"
    rounded: dict[str, Any] = _rounded({name: part for name, part in content.items() if part})
    return rounded


def from_json(content: Mapping[str, Any]) -> Answer:
    """Return the answer that `to_json` wrote.

    Raises:
        ValueError: if it is none.
    """
    try:
        return Answer(
            scalars={name: _read_scalar(value) for name, value in content.get("scalars", {}).items()},
            tables={name: _read_table(value) for name, value in content.get("tables", {}).items()},
            series={name: _read_series(value) for name, value in content.get("series", {}).items()},
            clips=dict(content.get("clips", {})),
            claims=tuple(Claim(**row) for row in content.get("claims", [])),
            skipped=dict(content.get("skipped", {})),
            pictures={name: Picture(**value) for name, value in content.get("pictures", {}).items()},
        )
    except (AttributeError, KeyError, TypeError, AssertionError) as error:
        raise ValueError(f"no answer of an evaluation: {error!r}") from None


def _scalar(scalar: Scalar) -> Any:
    if scalar.low is None:
        return scalar.value
    return {"value": scalar.value, "low": scalar.low, "high": scalar.high}


def _curve(curve: Curve) -> Any:
    if curve.low is None or curve.high is None:
        return list(curve.mean)
    return {"mean": list(curve.mean), "low": list(curve.low), "high": list(curve.high)}


def _read_scalar(value: Any) -> Scalar:
    return Scalar(**value) if isinstance(value, Mapping) else Scalar(value)


def _read_curve(value: Any) -> Curve:
    if isinstance(value, Mapping):
        return Curve(tuple(value["mean"]), tuple(value["low"]), tuple(value["high"]))
    return Curve(tuple(value))


def _read_table(value: Mapping[str, Any]) -> Table:
    rows = {row: tuple(map(_read_scalar, cells)) for row, cells in value["rows"].items()}
    return Table(value["title"], tuple(value["columns"]), rows)


def _read_series(value: Mapping[str, Any]) -> Series:
    rows = {row: _read_curve(curve) for row, curve in value["rows"].items()}
    return Series(value["title"], tuple(value["steps"]), rows)


def _not_finite(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of everything that is NaN or infinite."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, part in pairs:
        yield from _not_finite(part, f"{path}/{name}")


def _rounded(value: Any) -> Any:
    """Return JSON with its floats at six digits: more would be noise, and make the file several times as long."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list) else value
