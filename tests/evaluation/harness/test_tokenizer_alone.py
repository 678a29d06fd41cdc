"""A tokenizer or a VAE without a dynamics: it is asked what needs none, and answers like a whole world model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.models import tiny_vae
from tests.worlds import record_toy, save_simulator
from worldmodel.commands import main
from worldmodel.evaluation.harness import tokenizer_alone
from worldmodel.evaluation.harness.subject import Subject
from worldmodel.evaluation.harness.tokenizer_alone import TokenizerSubject
from worldmodel.evaluation.questions import tokenizer
from worldmodel.rollouts import EpisodeDataset
from worldmodel.simulator import Simulator
from worldmodel.training.tokenizer import save_tokenizer

OF_ONE_ALONE = {"psnr_sample", "psnr_sample_moving", "bits_per_dim", "dependence_on_latents"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a world model "c", its tokenizer inside it, a VAE "vae", and a recorded toy world "d"."""
    root = tmp_path_factory.mktemp("world")
    save_simulator(root / "c")
    save_tokenizer(tiny_vae(), root / "vae", {})
    record_toy(root / "d")
    return root


def ask(world: Path, checkpoint: str, *more: str) -> int:
    words = [
        "--checkpoint",
        str(world / checkpoint),
        "--data",
        str(world / "d"),
        "--set",
        "context=2",
        "--set",
        "processes=1",
    ]
    return main(["evaluate", *words, *more])


def test_a_tokenizer_answers_as_within_its_world_model(world: Path) -> None:
    """Every number of the whole model's answer is the same of its tokenizer alone, which only says more."""
    dataset = EpisodeDataset(world / "d")
    whole = Subject(simulator=Simulator.from_pretrained(world / "c"), dataset=dataset, num_clips=4, context=2)
    loaded = tokenizer_alone.load(world / "c" / "tokenizer")
    alone = TokenizerSubject(tokenizer=loaded, dataset=dataset, num_clips=4, context=2)
    theirs, ours = (tokenizer.measure(asked, lambda done, total: None) for asked in (whole, alone))
    for part in ("scalars", "tables", "clips"):
        less, more = getattr(theirs, part), getattr(ours, part)
        assert {name: more[name] for name in less} == less, part
    assert {*ours.scalars, *ours.tables} - {*theirs.scalars, *theirs.tables} == OF_ONE_ALONE


@pytest.mark.parametrize(("checkpoint", "kind"), [("c/tokenizer", "tokenizer"), ("vae", "vae")])
def test_numbers_and_page(world: Path, checkpoint: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is asked about the tokenizer alone; numbers, tables, page and strips are as those of a world model."""
    assert ask(world, checkpoint, "--clips", "4", "--out", "out") == 0
    said = capsys.readouterr().out
    metrics = json.loads(Path("out/metrics.json").read_text())
    assert list(metrics["answers"]) == ["tokenizer", "objects"]
    answer = metrics["answers"]["tokenizer"]
    found = answer["scalars"]
    assert {*found, *answer["tables"]} >= OF_ONE_ALONE | {"psnr", "psnr_moving", "ssim", "sharpness", "equal_bytes"}
    assert ("active_units" in found) == (kind == "vae")
    assert ("codes_used" in found) == (kind == "tokenizer")
    cost = {row: cells[0]["value"] for row, cells in answer["tables"]["bits_per_dim"]["rows"].items()}
    assert cost["bound"] == pytest.approx(cost["latents"] + cost["pixels"], rel=1e-4)
    assert metrics["checkpoint"]["kind"] == kind
    assert list(metrics["checkpoint"]["parameters"]) == [kind]
    assert not metrics["failures"]
    assert "dependence on the latents" in said
    page = Path("out/report.html").read_text()
    assert page.count("data:image/png;base64,") == 4  # strips
    assert "temperature" not in page


def test_other_questions_are_refused(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What needs a dynamics is refused in one line that says what can be asked; nothing is written."""
    assert ask(world, "vae", "--only", "tokenizer,fidelity", "--out", "out") == 2
    error = capsys.readouterr().err
    assert "is a vae checkpoint without a dynamics: ask tokenizer, objects, not fidelity" in error
    assert error.count("\n") == 1
    assert not Path("out").exists()


def test_recordings_that_do_not_fit_are_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames of another size are refused with both sizes."""
    other = record_toy(tmp_path / "big", frame_size=64, episodes=1)
    assert ask(world, "vae", "--data", str(other), "--out", "out") == 1
    assert "has frame_size 64, the model was trained with 32" in capsys.readouterr().err


def test_kinds(world: Path) -> None:
    """Only a tokenizer and a VAE are asked alone; what is no checkpoint is left to those who say so."""
    assert tokenizer_alone.kind(world / "vae") == "vae"
    assert tokenizer_alone.kind(world / "c" / "tokenizer") == "tokenizer"
    assert tokenizer_alone.kind(world / "c") is None
    assert tokenizer_alone.kind(world / "nowhere") is None
    with pytest.raises(ValueError, match="is a dynamics checkpoint, not a tokenizer checkpoint"):
        tokenizer_alone.load(world / "c")
