"""Curves by step as SVG: lines with their intervals, drawn in colours that the page names and everyone tells apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from .tables import ByStep, Curve, label, number

WIDTH, HEIGHT = 520, 260  # of the drawing, in its own units; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 34
NUM_TICKS = 5
NUM_COLORS = 8
MAX_ROWS = 8  # lines in one plot that can still be told apart
# A row keeps its colour in every plot: 1 orange, 2 green, 3 blue, 4 grey, 8 dark; the others follow.
COLORS = {"model": 1, "reconstruction": 2, "real": 8, "no_actions": 3, "copy_last": 4}


def plot(table: ByStep) -> str:
    """Return an SVG element with one line for each row of a table, and their names above it."""
    colors = _colors(list(table.rows))
    legend = "".join(
        f'<span class="key"><i class="swatch c{colors[name]}"></i>{escape(label(name))}</span>' for name in table.rows
    )
    curves = list(table.rows.values())
    low = min(min(curve.low or curve.mean) for curve in curves)
    high = max(max(curve.high or curve.mean) for curve in curves)
    frame = _Frame(table.steps, ticks(low, high))
    lines = "".join(frame.line(curve, colors[name]) for name, curve in table.rows.items())
    described = escape(f"{table.title} by imagined step", quote=True)
    drawing = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{described}">{frame.axes()}{lines}</svg>'
    return f'<div class="plot"><div class="keys">{legend}</div>{drawing}</div>'


def _colors(names: Sequence[str]) -> dict[str, int]:
    free = [color for color in range(1, NUM_COLORS + 1) if color not in {COLORS.get(name) for name in names}]
    others = [name for name in names if name not in COLORS]
    return {name: COLORS[name] for name in names if name in COLORS} | {
        name: free[i % len(free)] for i, name in enumerate(others)
    }


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers, evenly spaced, from at most `low` to at least `high`."""
    size = max(abs(low), abs(high), 1e-9)
    span = high - low if high - low > 1e-6 * size else size  # a level line lies in an axis as long as it is high
    rough = span / (NUM_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


class _Frame:
    """The coordinates of a plot."""

    def __init__(self, steps: Sequence[float], values: Sequence[float]) -> None:
        self.steps, self.values = steps, values

    def x(self, step: float) -> float:
        span = self.steps[-1] - self.steps[0] or 1
        return LEFT + (WIDTH - LEFT - RIGHT) * (step - self.steps[0]) / span

    def y(self, value: float) -> float:
        span = self.values[-1] - self.values[0]
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - self.values[0]) / span

    def axes(self) -> str:
        parts = []
        for value in self.values:
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{_tick(value)}</text>')
        for step in self._shown_steps():
            parts.append(f'<text x="{self.x(step):.1f}" y="{HEIGHT - 18}" text-anchor="middle">{number(step)}</text>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(f'<text x="{middle}" y="{HEIGHT - 3}" text-anchor="middle">step</text>')
        return "".join(parts)

    def _shown_steps(self) -> list[float]:
        if len(self.steps) <= 12:
            return list(self.steps)
        inside = [tick for tick in ticks(self.steps[0], self.steps[-1]) if self.steps[0] < tick <= self.steps[-1]]
        return [self.steps[0], *(int(tick) for tick in inside)]

    def line(self, curve: Curve, color: int) -> str:
        points = list(zip(self.steps, curve.mean, strict=True))
        band = ""
        if curve.low is not None and curve.high is not None:
            edge = [*zip(self.steps, curve.high, strict=True), *reversed([*zip(self.steps, curve.low, strict=True)])]
            band = f'<polygon class="band c{color}" points="{self._points(edge)}"/>'
        dots = "".join(
            f'<circle class="dot c{color}" cx="{self.x(step):.1f}" cy="{self.y(value):.1f}" r="2.2"/>'
            for step, value in (points if len(points) <= 20 else [])
        )
        return f'{band}<polyline class="line c{color}" points="{self._points(points)}"/>{dots}'

    def _points(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(step):.1f},{self.y(value):.1f}" for step, value in points)


def _tick(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
