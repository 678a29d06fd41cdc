"""The benchmark command: medians with their spread, as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.worlds import record_toy
from worldmodel.commands import benchmark, main


def exit_code(words: list[str]) -> int:
    """The exit code also where argparse ends the process."""
    try:
        return main(["benchmark", *words])
    except SystemExit as stop:
        return int(stop.code or 0)


def test_summary_is_the_median_and_its_spread() -> None:
    """The figure of a mode is the median of its first kind; every other kind says how much of it was reached."""
    result = benchmark.summarise("collect", {"recording": [70.0, 90.0, 80.0], "bare engine": [100.0, 60.0, 200.0]})
    assert result["frames_per_second"] == 80
    assert result["spread"] == [70, 90]
    assert result["parts"]["bare engine"]["frames_per_second"] == 100
    assert result["parts"]["bare engine"]["own_share"] == pytest.approx(0.8)
    assert result["machine"]["cores"]


def test_collect_compares_with_the_bare_engine(capsys: pytest.CaptureFixture[str]) -> None:
    """One run measures the recording, the engine with the crop and the bare engine, in this order of speed."""
    assert main(["benchmark", "collect", "--episodes", "2", "--workers", "1", "--repeats", "1", "--json", "f"]) == 0
    result = json.loads(Path("f").read_text())
    speeds = {name: part["frames_per_second"] for name, part in result["parts"].items()}
    assert list(speeds) == ["recording", "engine and crop", "bare engine"]
    assert all(speed > 10 for speed in speeds.values())
    assert result["frames_per_second"] == speeds["recording"]
    out = capsys.readouterr().out
    assert all(name in out for name in speeds)


def test_load_reads_windows(tmp_path: Path) -> None:
    """Random windows of a data set are read, by several threads too."""
    record_toy(tmp_path / "d")
    for threads in (1, 3):
        words = ["--data", str(tmp_path / "d"), "--windows", "20", "--threads", str(threads), "--json", "f"]
        assert main(["benchmark", "load", *words]) == 0
        assert json.loads(Path("f").read_text())["frames_per_second"] > 100


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "MODE"),
        (["colect"], 2, "invalid choice"),
        (["collect", "--env", "toy"], 1, "only ViZDoom"),
        (["collect", "--workers", "0"], 1, "at least 1"),
        (["load", "--data", "nowhere"], 1, "no data set"),
        (["load", "--data", "d", "--window", "5000"], 1, "no episode of 5000 frames"),
        (["load", "--data", "d", "--repeats", "0"], 2, "--repeats must be at least 1"),
    ],
)
def test_mistakes_get_one_line(words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 for the command line, 1 for the rest; one line on stderr."""
    record_toy(Path("d"), episodes=1)
    assert exit_code(words) == code
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
