"""`worldmodel evaluate`: tables, numbers and a page; what speaks against them in red; bad input in one line."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tests.worlds import record_toy, save_simulator
from worldmodel.commands import main
from worldmodel.evaluation.answers import Answer, Claim, Scalar
from worldmodel.evaluation.harness import run


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that name a tiny model and a recorded toy world."""
    root = tmp_path_factory.mktemp("world")
    checkpoint, data = save_simulator(root / "c"), record_toy(root / "d")
    return [
        "evaluate",
        "--checkpoint",
        str(checkpoint),
        "--data",
        str(data),
        "--set",
        "context=3",
        "--set",
        "processes=1",
    ]


def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answers: dict[str, Any]) -> None:
    """Let parts with these answers stand in place of all others; an error is raised."""
    for name, answer in answers.items():

        def measure(subject: object, report: object, answer: Any = answer) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        module = types.ModuleType(f"worldmodel.evaluation.questions.{name}")
        module.__file__, module.measure = str(tmp_path / f"{name}.py"), measure  # type: ignore[attr-defined]
        Path(module.__file__).write_text('"""Is it so?"""\n')
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(run, "QUESTIONS", {name: name for name in answers})
    monkeypatch.setattr("worldmodel.evaluation.report.page.QUESTIONS", run.QUESTIONS)
    monkeypatch.setattr("worldmodel.evaluation.report.page.docstring", lambda question: "Is it so?")


def test_tables_numbers_and_page(world: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A part is asked, printed as tables to stdout, written as JSON and as a page; a second run takes what is there."""
    command = [*world, "--only", "tokenizer", "--quick", "--out", "out"]
    assert main(command) == 0
    said = capsys.readouterr()
    metrics = json.loads(Path("out/metrics.json").read_text())
    assert f"{metrics['answers']['tokenizer']['scalars']['codes_used']}" in said.out
    assert "codes used" in said.out
    assert said.out.endswith("out/metrics.json\nout/report.html\n")
    page = Path("out/report.html").read_text()
    assert page.count("data:image/png;base64,") == 2  # strips
    assert "the data is of split 'train'" in said.err
    assert main(command) == 0
    assert json.loads(Path("out/metrics.json").read_text()) == metrics
    assert Path("out/report.html").read_text() == page


def test_a_claim_that_does_not_hold_is_said(
    world: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The verdict is on stderr, in the metrics and on the page; the numbers are there all the same."""
    claim = Claim(text="real is nearer than imagined", holds=False, figures={"real": 1.0})
    pretend(monkeypatch, tmp_path, {"first": Answer(claims=(claim,), scalars={"psnr": Scalar(3.25)})})
    assert main([*world, "--quick", "--out", "out"]) == 0
    said = capsys.readouterr()
    assert "first: it does not hold that real is nearer than imagined" in said.err
    assert "3.25" in said.out
    assert json.loads(Path("out/metrics.json").read_text())["sane"] is False
    assert "it does not hold that real is nearer than imagined" in Path("out/report.html").read_text()


def test_a_part_that_cannot_be_asked(
    world: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named with its reason, the others are asked, and the exit code is 1."""
    pretend(
        monkeypatch, tmp_path, {"first": ValueError("no engine here"), "second": Answer(scalars={"psnr": Scalar(3.25)})}
    )
    assert main([*world, "--quick", "--out", "out"]) == 1
    said = capsys.readouterr()
    assert "first could not be asked: no engine here" in said.err
    assert "3.25" in said.out
    assert json.loads(Path("out/metrics.json").read_text())["failures"] == {"first": "no engine here"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--only", "fidelty"], 2, "no question named 'fidelty'; did you mean 'fidelity'?"),
        (["--only", ""], 2, "no question named ''"),
        (["--clips", "1"], 2, "--clips must be at least 2, got 1"),
        (["--set", "context=0"], 2, "context must be above 0, got 0"),
        (["--set", "processes=-1"], 2, "processes must be 0 (automatic) to 256, got -1"),
        (["--set", "temperature=-1"], 1, "temperature"),
        (["--data", "nowhere"], 1, "nowhere"),
        (["--checkpoint", "nowhere"], 1, "no checkpoint at nowhere"),
    ],
)
def test_bad_input_is_one_line(
    world: list[str], words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be asked is said at once, in one line, and nothing is written."""
    assert main([*world, "--out", "out", *words]) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not Path("out").exists()


def test_another_games_recordings_are_refused(
    world: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model is not asked about frames of another size than it was trained with."""
    other = record_toy(tmp_path / "big", frame_size=64, episodes=1)
    assert main([*world, "--data", str(other), "--out", "out"]) == 1
    assert "has frame_size 64, the model was trained with 32" in capsys.readouterr().err


def test_another_game_is_said(
    world: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A variant of the game that fits in all else is asked about, and one line on stderr says which game it is."""
    pretend(monkeypatch, tmp_path, {"first": Answer()})
    other = save_simulator(tmp_path / "c", env="ToyTwo-v0")
    assert main([*world, "--checkpoint", str(other), "--out", "out"]) == 0
    assert "is of toy, the checkpoint was trained on ToyTwo-v0" in capsys.readouterr().err
