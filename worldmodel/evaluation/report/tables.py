"""What a part answered as tables: numbers by step, and single figures, for terminal, page and Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HIDDEN = {"sanity", "per_clip", "png"}  # claims, values clip by clip and pictures are shown otherwise, or not at all
INTERVAL = {"mean", "low", "high"}
AXES = ("steps", "horizons")  # a list with one of these names says of which steps the lists beside it speak
MAX_COLUMNS = 10
OURS = "model"  # the row that every comparison has
LABELS = {
    "reconstruction": "reconstruction (ceiling)",
    "no_actions": "model without actions",
    "copy_last": "copy the last frame",
    "psnr": "PSNR, dB",
    "psnr_moving": "PSNR on moving clips, dB",
    "ssim": "SSIM",
    "ssim_moving": "SSIM on moving clips",
    "probe_feature_distance": "distance of the inverse-dynamics probe's features, lower is nearer",
    "probe_feature_distance_moving": "distance of the inverse-dynamics probe's features on moving clips",
    "psnr_differences": "PSNR differences, dB",
    "psnr_differences_moving": "PSNR differences on moving clips, dB",
    "delta_psnr": "delta-PSNR, dB",
    "wrong_actions": "model under wrong actions",
    "horizons": "",
    "fully_teacher_forced": "fully teacher-forced, nats a code",
    "cost_of_actions": "cost of other actions than the right ones, nats a code",
    "temporally_teacher_forced": "temporally teacher-forced, nats a code",
    "autoregressive": "autoregressive, nats a code",
    "grid": "The same moment under every action, real and imagined",
    "rows": "",
    "f1": "F1",
    "top1": "top-1",
}


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A number by step, with its interval where it has one."""

    mean: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass(frozen=True, kw_only=True)
class ByStep:
    """Numbers by step."""

    path: tuple[str, ...]
    steps: Sequence[float]
    rows: Mapping[str, Curve]

    @property
    def title(self) -> str:
        """What it is a table of."""
        return title(self.path)

    @property
    def columns(self) -> list[int]:
        """Positions of the steps that a table of readable width shows: the first, the last, and some between."""
        number = len(self.steps)
        if number <= MAX_COLUMNS:
            return list(range(number))
        return sorted({round(i * (number - 1) / (MAX_COLUMNS - 1)) for i in range(MAX_COLUMNS)})

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Return the header and the rows, as text; a row has the same digits after the point throughout."""
        header = ["step", *(number(self.steps[i]) for i in self.columns)]
        return header, [[label(name), *self._row(curve)] for name, curve in self.rows.items()]

    def _row(self, curve: Curve) -> list[str]:
        shown = [curve.mean[i] for i in self.columns]
        largest = max(map(abs, shown))
        digits = 0 if largest >= 100 else 1 if largest >= 10 else 2 if largest >= 1 else 3
        return [f"{round(value, digits) + 0.0:,.{digits}f}" for value in shown]  # + 0.0: there is no -0


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Single figures: one column for each name in `columns`, or a single one without a name."""

    path: tuple[str, ...]
    columns: Sequence[str]
    rows: Mapping[str, Sequence[str]]

    @property
    def title(self) -> str:
        """What it is a table of."""
        return title(self.path)

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Return the header and the rows, as text."""
        return ["", *map(label, self.columns)], [[label(name), *cells] for name, cells in self.rows.items()]


Table = ByStep | Figures


def tables(result: Mapping[str, Any], path: tuple[str, ...] = (), axis: Sequence[float] = ()) -> Iterator[Table]:
    """Yield the tables of a part's result, whatever names it uses.

    Lists are numbers by step, and a mapping of mean, low and high is a number with its interval. Mappings that hold
    the same things beside one another share tables, in which each is a row. `axis` holds the steps of lists as long.
    """
    shown = {name: value for name, value in result.items() if name not in HIDDEN and not is_picture(value)}
    figures = {name: text for name, value in shown.items() if (text := figure(value)) is not None}
    axis = next((shown[name] for name in AXES if isinstance(shown.get(name), list)), axis)
    if figures:
        yield Figures(path=path, columns=("",), rows={name: [text] for name, text in figures.items()})
    yield from _by_step(shown, path, axis)
    groups = {name: value for name, value in shown.items() if isinstance(value, Mapping) and not is_number(value)}
    if _alike(groups):
        yield from _together(groups, path, axis)
    else:
        for name, value in groups.items():
            yield from tables(value, (*path, name), axis)


def _alike(groups: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether mappings hold the same figures; numbers by step are put together only for rows, so that units agree."""
    kinds = [
        {
            name: "figure" if figure(value) is not None else "curve" if curve(value) else "group"
            for name, value in group.items()
            if name not in HIDDEN and (isinstance(value, Mapping) or figure(value) or curve(value))
        }
        for group in groups.values()
    ]
    allowed = {"figure", "curve"} if OURS in groups else {"figure"}
    return len(kinds) > 1 and all(kind == kinds[0] for kind in kinds) and set(kinds[0].values()) <= allowed


def _together(groups: Mapping[str, Mapping[str, Any]], path: tuple[str, ...], axis: Sequence[float]) -> Iterator[Table]:
    first = {name: value for name, value in next(iter(groups.values())).items() if name not in HIDDEN}
    columns = [name for name, value in first.items() if figure(value) is not None]
    if OURS in columns:  # metrics of rows, rather than rows of metrics: either way a row of ours is one of the table
        yield Figures(
            path=path,
            columns=list(groups),
            rows={row: [figure(group[row]) or "" for group in groups.values()] for row in columns},
        )
    elif columns:
        rows = {row: [figure(group[name]) or "" for name in columns] for row, group in groups.items()}
        yield Figures(path=path, columns=columns, rows=rows)
    for name in first:
        if name not in (*columns, *AXES):
            yield from _by_step({row: group[name] for row, group in groups.items()}, (*path, name), axis)


def _by_step(shown: Mapping[str, Any], path: tuple[str, ...], axis: Sequence[float]) -> Iterator[ByStep]:
    curves = {name: found for name, value in shown.items() if name not in AXES and (found := curve(value))}
    for length in dict.fromkeys(len(found.mean) for found in curves.values()):
        rows = {name: found for name, found in curves.items() if len(found.mean) == length}
        steps = axis if len(axis) == length else list(range(1, length + 1))
        yield ByStep(path=path, steps=steps, rows=rows)


def is_picture(value: Any) -> bool:
    """Whether a value is a PNG, with what belongs to it."""
    return isinstance(value, Mapping) and "png" in value


def is_number(value: Any) -> bool:
    """Whether a value is a number with its interval."""
    return isinstance(value, Mapping) and value.keys() >= INTERVAL


def curve(value: Any) -> Curve | None:
    """Return a value that is a number by step."""
    if is_number(value) and isinstance(value["mean"], list):
        return Curve(mean=value["mean"], low=value["low"], high=value["high"])
    # Numbers by step are floats; whole numbers in a row are counts of something else.
    is_list = isinstance(value, list) and value and all(isinstance(part, float) for part in value)
    return Curve(mean=value) if is_list else None


def figure(value: Any) -> str | None:
    """Return the text of a value that is a single figure."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return ", ".join(value)
    if is_number(value) and isinstance(value["mean"], int | float):
        return f"{number(value['mean'])} ({number(value['low'])} to {number(value['high'])})"
    return None


def number(value: float) -> str:
    """Return a number as people read it: three digits that mean something, never fewer than before the point."""
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 1e-3:
        return f"{value:.1e}" if value else "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def label(name: str) -> str:
    """Return how a name of a result is written."""
    return f"{name} steps" if name.isdigit() else LABELS.get(name, name.replace("_", " "))


def title(path: Sequence[str]) -> str:
    """Return the title of what lies at a path."""
    return ": ".join(filter(None, map(label, path)))


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; without a header its head is empty, as Markdown knows no table without one."""
    header = header or [""] * max(map(len, rows), default=1)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
