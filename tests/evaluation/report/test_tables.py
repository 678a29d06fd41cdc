"""What a part answered becomes tables, whatever its names are; nothing is lost and nothing is mixed."""

from __future__ import annotations

import pytest

from worldmodel.evaluation.report.tables import ByStep, Figures, markdown, number, tables


def interval(mean: object) -> dict[str, object]:
    return {"mean": mean, "low": mean, "high": mean, "per_clip": [[1.0]]}


def test_each_kind_of_value_has_its_table() -> None:
    """Figures, intervals and lists by step are told apart; claims, values by clip and pictures are left out."""
    result = {
        "clips": 4,
        "f1": interval(0.5),
        "psnr": {"model": interval([1.0, 2.0]), "copy_last": [3.0, 4.0]},
        "counts": [1, 2, 3],
        "per_clip": {"model": [[1.0]]},
        "sanity": [{"claim": "x", "holds": True}],
        "grid": {"png": "abc"},
    }
    figures, by_step, *rest = tables(result)
    assert isinstance(figures, Figures)
    assert figures.rows == {"clips": ["4"], "f1": ["0.500 (0.500 to 0.500)"]}
    assert isinstance(by_step, ByStep)
    assert (by_step.path, by_step.steps) == (("psnr",), [1, 2])
    assert {row: list(curve.mean) for row, curve in by_step.rows.items()} == {"model": [1, 2], "copy_last": [3, 4]}
    assert by_step.rows["copy_last"].low is None
    assert rest == []


def test_metrics_are_not_mixed_but_rows_are() -> None:
    """PSNR and SSIM by step stay two tables; what each row of a comparison answers becomes one table a figure."""
    metrics = {"psnr": {"a": [30.0, 31.0]}, "ssim": {"a": [0.5, 0.6]}}
    assert [table.path for table in tables(metrics)] == [("psnr",), ("ssim",)]
    rows = {"model": {"top1": 0.5, "curve": [0.1, 0.2]}, "oracle": {"top1": 1.0, "curve": [1.0, 1.0]}}
    figures, by_step = tables(rows)
    assert isinstance(figures, Figures)
    assert figures.cells() == (["", "top-1"], [["model", "0.500"], ["oracle", "1.00"]])
    assert isinstance(by_step, ByStep)
    assert list(by_step.rows) == ["model", "oracle"]
    (turned,) = tables({"f1": {"real": 1.0, "model": 0.5}, "top1": {"real": 0.75, "model": 0.25}})
    assert turned.cells() == (["", "F1", "top-1"], [["real", "1.00", "0.750"], ["model", "0.500", "0.250"]])


def test_steps_are_named_by_the_list_beside_them() -> None:
    """An axis gives the steps, and a long row shows its first, its last and some between."""
    (named,) = tables({"horizons": [1, 5, 10], "psnr": [3.0, 2.0, 1.0]})
    assert named.cells() == (["step", "1", "5", "10"], [["PSNR, dB", "3.00", "2.00", "1.00"]])
    (small,) = tables({"a": [-0.0004, 0.25], "b": [-0.04, 12.0]})
    assert small.cells()[1] == [["a", "0.000", "0.250"], ["b", "0.0", "12.0"]]
    (long,) = tables({"psnr": [float(step) for step in range(1, 61)]})
    header, ((_, *cells),) = long.cells()
    assert (header[1], header[-1], cells[0], cells[-1]) == ("1", "60", "1.0", "60.0")
    assert len(header) == 11


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0, "0"), (12345, "12,345"), (3790.4, "3,790"), (336.0, "336"), (31.574, "31.6"), (0.0186, "0.0186"),
     (-1.234, "-1.23"), (1e-5, "1.0e-05"), (8.75, "8.75")],
)  # fmt: skip
def test_numbers_are_readable(value: float, text: str) -> None:
    """Three digits that mean something, whole numbers whole."""
    assert number(value) == text


def test_markdown() -> None:
    """A header, a rule, and a line a row."""
    assert markdown(["", "1"], [["a", "2"]]) == "|  | 1 |\n| --- | --- |\n| a | 2 |\n"
