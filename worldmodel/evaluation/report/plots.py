"""Series by step as plots: lines with their intervals, drawn by matplotlib."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..answers import Series
from .tables import label

SIZE, DPI = (5.2, 2.7), 160  # inches, dots an inch
MAX_DOTS = 20  # steps; a longer line is drawn without
# A row keeps its colour in every plot (Okabe and Ito's palette, which everyone tells apart); the others follow.
COLORS = {
    "model": "#d55e00",
    "reconstruction": "#009e73",
    "without_map": "#cc79a7",
    "no_actions": "#0072b2",
    "copy_last": "#8a8f98",
    "real": "#444a52",
}
OTHERS = ("#e69f00", "#56b4e9", "#7a5195", "#b28a00", "#4b9fd5", "#a05a2c")
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def plot(series: Series) -> str:
    """Return a PNG, base64, with one line for each row of a series, its interval shaded."""
    with matplotlib.rc_context(STYLE):
        stream = io.BytesIO()
        draw(series).savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return base64.b64encode(stream.getvalue()).decode()


def draw(series: Series) -> Figure:
    """Return the plot of a series, as matplotlib holds it."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    for (name, curve), color in zip(series.rows.items(), _colors(list(series.rows)), strict=True):
        marker = "o" if len(series.steps) <= MAX_DOTS else ""
        axes.plot(series.steps, curve.mean, color=color, label=label(name), linewidth=1.6, marker=marker, markersize=3)
        if curve.low is not None and curve.high is not None:
            axes.fill_between(series.steps, curve.low, curve.high, color=color, alpha=0.17, linewidth=0)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=7)
    return figure


def _colors(names: Sequence[str]) -> list[str]:
    others = iter([*OTHERS, *OTHERS])
    return [COLORS[name] if name in COLORS else next(others, "#000000") for name in names]
