"""The record of a run: means over steps, speed and utilisation."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from worldmodel.training.log import PLAIN_EVERY_SECONDS, Log


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def write(out: Path, *, ceiling: float | None = None) -> list[dict[str, Any]]:
    """Five steps of 10 frames in half a second each, reported in twos after the first."""
    with Log(out, 0, visible=True, ceiling=ceiling) as log:
        for step in range(1, 6):
            row = {"total": float(step)}
            log.step(step, row, frames=10 * step, seconds=0.5 * step, every=2, share=step / 5)
    return rows(out)


def test_means_and_speed(tmp_path: Path) -> None:
    """The first step is reported at once, then the mean of every so many steps with their frames a second."""
    log = write(tmp_path)
    assert [(row["step"], row["total"]) for row in log] == [(1, 1.0), (3, 2.5), (5, 4.5)]
    assert [row["frames_per_second"] for row in log[1:]] == [20.0, 20.0]


def test_utilisation_is_the_share_of_the_ceiling(tmp_path: Path) -> None:
    """`mfu` stands beside the speed: 20 of the 80 frames/s that the machine would allow are a quarter."""
    log = write(tmp_path, ceiling=80.0)
    assert [row["mfu"] for row in log[1:]] == [0.25, 0.25]
    assert list(log[1])[-2:] == ["frames_per_second", "mfu"]


def test_unknown_ceiling_reports_no_utilisation(tmp_path: Path) -> None:
    """Nothing is made up for a model whose FLOPs are not known."""
    assert not any("mfu" in row for row in write(tmp_path))


def test_resumed_log_forgets_what_comes_again(tmp_path: Path) -> None:
    """Lines after the step from which a run goes on are dropped, earlier ones kept."""
    write(tmp_path)
    with Log(tmp_path, 3, visible=True):
        pass
    assert [row["step"] for row in rows(tmp_path)] == [1, 3]


@pytest.mark.parametrize("rest", ['{"step": 5, "tot', '{"step": 5, "total": 1}'[:-1] + "\x00}", "{}", "[]", "}"])
def test_a_line_that_was_cut_off_is_forgotten(rest: str, tmp_path: Path) -> None:
    """A full disk or a kill leaves half a line: a resumed run drops it and writes on in a line of its own."""
    write(tmp_path)
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write(rest)
    with Log(tmp_path, 5, visible=True) as log:
        log.step(6, {"total": 6.0}, frames=60, seconds=3.0, every=1, share=1.0)
    assert [row["step"] for row in rows(tmp_path)] == [1, 3, 5, 6]


def test_an_invisible_process_writes_nothing(tmp_path: Path) -> None:
    """Of several processes one reports."""
    with Log(tmp_path, 0, visible=False) as log:
        log.step(1, {"total": 1.0}, frames=1, seconds=1.0, every=1, share=0.5)
        log.evaluation(1, {"nats": 2.0})
    assert not list(tmp_path.iterdir())
    assert log.held_out == pytest.approx({"nats": 2.0})


def test_asking_is_told_now_and_then(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where there is no terminal, a long evaluation prints a line, not another one at once, and a short one none."""
    with Log(tmp_path, 0, visible=True) as log:
        log.asking(1, 4)
        assert not capfd.readouterr().err
        log.begun -= PLAIN_EVERY_SECONDS
        log.asking(2, 4)
        log.asking(3, 4)
    assert capfd.readouterr().err == "asking what is held out: 2 of 4\n"


def test_a_terminal_shows_each_answer_below_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of the last steps stays, with one line below it that counts."""
    screen = io.StringIO()
    monkeypatch.setattr(
        "worldmodel.training.log.Console", lambda stderr: Console(file=screen, force_terminal=True, width=100)
    )
    with Log(tmp_path, 0, visible=True) as log:
        log.step(1, {"total": 1.5}, frames=1, seconds=1.0, every=1, share=0.5)
        for done in (1, 2):
            screen.seek(0)
            screen.truncate()
            log.asking(done, 2)
            assert "1.5" in screen.getvalue()
            assert f"asking what is held out: {done} of 2" in screen.getvalue()
        assert screen.getvalue().count("asking") == 1
