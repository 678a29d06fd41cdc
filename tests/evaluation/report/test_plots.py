"""Curves are drawn where their numbers are."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from worldmodel.evaluation.answers import Curve, Series
from worldmodel.evaluation.report.plots import COLORS, draw, plot


def test_lines_and_intervals_lie_where_the_numbers_are() -> None:
    """A line has a row's numbers at its steps, and the band around it its interval."""
    rows = {"model": Curve((0.0, 2.0, 4.0), (-1.0, 1.0, 3.0), (1.0, 3.0, 5.0)), "copy_last": Curve((1.0, 1.0, 1.0))}
    (axes,) = draw(Series("PSNR, dB", (1, 2, 5), rows)).axes
    first, second = axes.lines
    np.testing.assert_array_equal(first.get_xydata(), [[1, 0], [2, 2], [5, 4]])
    np.testing.assert_array_equal(second.get_ydata(), [1, 1, 1])
    (band,) = axes.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    assert {(1, -1), (5, 3), (5, 5), (1, 1), (2, 3)} <= corners


def test_a_row_keeps_its_colour() -> None:
    """The model has one colour beside whomever it stands, and no two rows share one."""
    for names in (["model", "copy_last"], ["a", "model", "c", "real", "without_map"]):
        (axes,) = draw(Series("x", (1, 2), dict.fromkeys(names, Curve((1.0, 1.0))))).axes
        colors = [line.get_color() for line in axes.lines]
        assert colors[names.index("model")] == COLORS["model"]
        assert len(set(colors)) == len(names)


def test_a_plot_is_a_png_and_always_the_same() -> None:
    """It can stand in a page, and the same numbers give the same bytes."""
    series = Series("x", (1, 2, 3), {"model": Curve((1.0, 2.0, 3.0))})
    png = plot(series)
    assert png == plot(series)
    assert Image.open(io.BytesIO(base64.b64decode(png))).width > 600
