"""Answers become text: nothing is lost, and numbers are readable."""

from __future__ import annotations

import pytest

from worldmodel.evaluation.answers import Answer, Curve, Scalar, Series, Table
from worldmodel.evaluation.report.tables import cells, label, markdown, number, series_cells, text


def test_every_part_of_an_answer_is_shown() -> None:
    """Scalars and what was skipped come first, then tables, then series; claims, clips and pictures are not text."""
    answer = Answer(
        scalars={"clips": Scalar(4), "f1": Scalar(0.5, 0.25, 0.75)},
        tables={"x": Table("the table", ("top1", "ties"), {"model": (Scalar(0.5), Scalar(0))})},
        series={"psnr": Series("PSNR, dB", (1, 2), {"model": Curve((1.0, 2.0)), "copy_last": Curve((3.0, 4.0))})},
        skipped={"60 steps": "too short"},
        clips={"psnr": [1.0]},
    )
    facts, table, series = cells(answer)
    assert facts.bare
    assert facts.rows == [["clips", "4"], ["F1", "0.500 (0.250 to 0.750)"], ["60 steps: skipped", "too short"]]
    assert (table.title, table.header) == ("the table", ["", "top-1", "ties"])
    assert table.rows == [["model", "0.500", "0"]]
    assert (series.title, series.header) == ("PSNR, dB", ["step", "1", "2"])
    assert series.rows == [["model", "1.00", "2.00"], ["copy the last frame", "3.00", "4.00"]]


def test_long_rows_are_thinned() -> None:
    """A long row shows its first, its last and some between; a row's numbers have the same digits throughout."""
    small = series_cells(Series("a", (1, 2), {"a": Curve((-0.0004, 0.25)), "b": Curve((-0.04, 12.0))}))
    assert small.rows == [["a", "0.000", "0.250"], ["b", "0.0", "12.0"]]
    steps = tuple(range(1, 61))
    long = series_cells(Series("a", steps, {"psnr": Curve(tuple(map(float, steps)))}))
    assert (long.header[1], long.header[-1], long.rows[0][1], long.rows[0][-1]) == ("1", "60", "1.0", "60.0")
    assert len(long.header) == 11


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (0.0, "0"), (12345, "12,345"), (3790.4, "3,790"), (336.0, "336"), (31.574, "31.6"), (0.0186, "0.0186"),
     (-1.234, "-1.23"), (1e-5, "1.0e-05"), (8.75, "8.75")],
)  # fmt: skip
def test_numbers_are_readable(value: float, said: str) -> None:
    """Three digits that mean something, whole numbers whole."""
    assert number(value) == said
    assert text(Scalar(value)) == said


def test_markdown_and_labels() -> None:
    """A header, a rule, and a line a row; paths are read part by part."""
    assert markdown(["", "1"], [["a", "2"]]) == "|  | 1 |\n| --- | --- |\n| a | 2 |\n"
    assert label("fidelity/10/psnr/without_map") == "fidelity: 10: PSNR, dB: model without map"
