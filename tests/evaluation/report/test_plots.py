"""Curves are drawn where their numbers are."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldmodel.evaluation.report.plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, plot, ticks
from worldmodel.evaluation.report.tables import ByStep, Curve


def points(svg: str, kind: str) -> list[list[tuple[float, float]]]:
    """The corners of every polyline or polygon."""
    found = re.findall(rf'<{kind} [^>]*points="([^"]*)"', svg)
    return [[tuple(map(float, pair.split(","))) for pair in text.split()] for text in found]  # type: ignore[misc]


def test_lines_lie_where_the_numbers_are() -> None:
    """Between the round numbers 0 and 4 a row of 0, 2, 4 rises evenly from the lower left to the upper right corner."""
    svg = plot(ByStep(path=("psnr",), steps=[1, 2, 3], rows={"model": Curve(mean=[0.0, 2.0, 4.0])}))
    (line,) = points(svg, "polyline")
    middle = ((LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2)
    expected = [(LEFT, HEIGHT - BOTTOM), middle, (WIDTH - RIGHT, TOP)]
    assert line == [pytest.approx(point, abs=0.1) for point in expected]


def test_intervals_lie_around_their_line() -> None:
    """The band goes along the upper edge and back along the lower one, and the axis has room for it."""
    curve = Curve(mean=[1.0, 2.0], low=[0.5, 1.5], high=[1.5, 2.5])
    svg = plot(ByStep(path=(), steps=[1, 2], rows={"model": curve}))
    (line,), (band,) = points(svg, "polyline"), points(svg, "polygon")
    assert band[0][1] < line[0][1] < band[3][1]
    assert band[1][1] < line[1][1] < band[2][1]
    assert all(TOP - 0.1 <= y <= HEIGHT - BOTTOM + 0.1 for _, y in band)


def test_a_row_keeps_its_colour_and_text_is_escaped() -> None:
    """The model has one colour beside whomever it stands, no two rows share one, and a plot is well-formed XML."""
    curve = Curve(mean=[1.0, 1.0, 1.0])
    for names in (["model", "copy_last"], ["a<b>&", "model", '"c"']):
        svg = plot(ByStep(path=("<&",), steps=[1, 2, 3], rows=dict.fromkeys(names, curve)))
        colors = re.findall(r'class="line (c\d)"', svg)
        assert colors[names.index("model")] == "c1"
        assert len(set(colors)) == len(names)
        ElementTree.fromstring(svg)


@given(st.floats(-1e4, 1e4), st.floats(0, 1e4))
def test_ticks_are_round_and_enclose(low: float, span: float) -> None:
    """Ticks are few, evenly spaced, and reach around all values."""
    found = ticks(low, low + span)
    assert 2 <= len(found) <= 8
    slack = 1e-6 * max(1.0, abs(low), span)
    assert found[0] <= low + slack
    assert found[-1] >= low + span - slack
    steps = [after - before for before, after in itertools.pairwise(found)]
    assert max(steps) - min(steps) <= slack
