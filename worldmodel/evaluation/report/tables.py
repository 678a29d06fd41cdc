"""Answers as text: cells of tables for terminal, page and Markdown, and how names and numbers are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..answers import Answer, Curve, Scalar, Series, Table

MAX_COLUMNS = 10
LABELS = {
    "reconstruction": "reconstruction (ceiling)",
    "without_map": "model without map",
    "no_actions": "model without actions",
    "copy_last": "copy the last frame",
    "wrong_actions": "model under wrong actions",
    "shuffled_actions": "model under shuffled actions",
    "psnr": "PSNR, dB",
    "psnr_moving": "PSNR on moving clips, dB",
    "ssim": "SSIM",
    "ssim_moving": "SSIM on moving clips",
    "f1": "F1",
    "top1": "top-1",
}


@dataclass(frozen=True, kw_only=True)
class Cells:
    """A table as text. A header of one empty cell has none."""

    title: str
    header: list[str]
    rows: list[list[str]]

    @property
    def bare(self) -> bool:
        """Whether it is a list of names with one figure each."""
        return not any(self.header)


def cells(answer: Answer) -> Iterator[Cells]:
    """Yield an answer as text: its scalars, what was skipped, its tables, and its series."""
    found = {label(name): text(value) for name, value in answer.scalars.items()}
    found |= {f"{label(name)}: skipped" if name else "skipped": reason for name, reason in answer.skipped.items()}
    if found:
        yield Cells(title="", header=["", ""], rows=[[name, value] for name, value in found.items()])
    for table in answer.tables.values():
        yield table_cells(table)
    for series in answer.series.values():
        yield series_cells(series)


def table_cells(table: Table) -> Cells:
    """Return a table as text."""
    rows = [[label(row), *map(text, found)] for row, found in table.rows.items()]
    return Cells(title=table.title, header=["", *map(label, table.columns)], rows=rows)


def series_cells(series: Series) -> Cells:
    """Return numbers by step as text, at most MAX_COLUMNS of them: the first, the last, and some between."""
    columns = _columns(len(series.steps))
    rows = [[label(name), *_row(curve, columns)] for name, curve in series.rows.items()]
    return Cells(title=series.title, header=["step", *(number(series.steps[i]) for i in columns)], rows=rows)


def _columns(count: int) -> list[int]:
    if count <= MAX_COLUMNS:
        return list(range(count))
    return sorted({round(i * (count - 1) / (MAX_COLUMNS - 1)) for i in range(MAX_COLUMNS)})


def _row(curve: Curve, columns: Sequence[int]) -> list[str]:
    """Return a row whose cells have the same digits after the point throughout."""
    shown = [curve.mean[i] for i in columns]
    largest = max(map(abs, shown))
    digits = 0 if largest >= 100 else 1 if largest >= 10 else 2 if largest >= 1 else 3
    return [f"{round(value, digits) + 0.0:,.{digits}f}" for value in shown]  # + 0.0: there is no -0


def text(scalar: Scalar) -> str:
    """Return a scalar as people read it."""
    if isinstance(scalar.value, str):
        return scalar.value
    if isinstance(scalar.value, bool):
        return "yes" if scalar.value else "no"
    if scalar.low is None or scalar.high is None:
        return number(scalar.value)
    return f"{number(scalar.value)} ({number(scalar.low)} to {number(scalar.high)})"


def number(value: float) -> str:
    """Return a number as people read it: three digits that mean something, never fewer than before the point."""
    if isinstance(value, int) or abs(value) >= 1000 or value == round(value) == 0:
        return f"{value:,.0f}"
    if abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def label(name: str) -> str:
    """Return how a name is written; the parts of a path are separated by colons."""
    return ": ".join(LABELS.get(part, part.replace("_", " ")) for part in name.split("/"))


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; without a header its head is empty, as Markdown knows no table without one."""
    header = header or [""] * max(map(len, rows), default=1)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
