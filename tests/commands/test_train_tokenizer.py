"""`train-tokenizer`: two kinds of model, kept apart in one line each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.worlds import record_toy
from worldmodel.commands import main
from worldmodel.rollouts.lock import locked
from worldmodel.tokenizer.vae import VAE

SMALL = ["--steps", "2", "--processes", "1", "--set", "hidden_dim=16", "--set", "residual_dim=8"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a recorded toy world "d" and a VAE "vae" trained on it."""
    root = tmp_path_factory.mktemp("world")
    record_toy(root / "d")
    assert train(root, "vae", "--tokenizer-kind", "vae", "--set", "latent_dim=4") == 0
    return root


def train(world: Path, out: str, *more: str) -> int:
    return main(["train-tokenizer", "--data", str(world / "d"), "--out", str(world / out), *SMALL, *more])


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_a_vae_is_trained_and_loaded(world: Path) -> None:
    """Its checkpoint says what it is and how large, and it lies beside sheet, log and state."""
    index = json.loads((world / "vae" / "config.json").read_text())
    assert index["kind"] == "vae"
    assert VAE.from_pretrained(world / "vae").config.latent_dim == index["config"]["latent_dim"] == 4
    assert index["metrics"]["step"] == 2
    assert {"sheet.png", "log.jsonl", "training"} <= {file.name for file in (world / "vae").iterdir()}


def test_a_run_is_resumed_as_what_it_is(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A VAE's run does not go on as a tokenizer's."""
    capsys.readouterr()
    assert train(world, "vae", "--resume") == 1
    assert "is a vae checkpoint, not a tokenizer checkpoint" in one_line(capsys)
    assert train(world, "vae", "--resume", "--tokenizer-kind", "vae", "--set", "latent_dim=4") == 0


def test_stage_2_refuses_a_vae(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has no codes to predict: training and imagining say so in one line."""
    capsys.readouterr()
    words = ["--data", str(world / "d"), "--out", str(world / "x"), "--processes", "1"]
    assert main(["train-dynamics", "--tokenizer", str(world / "vae"), *words]) == 1
    assert "is a vae checkpoint, not a tokenizer checkpoint" in one_line(capsys)
    assert not (world / "x").exists()
    assert main(["imagine", "--checkpoint", str(world / "vae"), "--out", str(world / "x")]) == 1
    assert "is a vae checkpoint, not a dynamics checkpoint" in one_line(capsys)


def test_one_run_a_folder(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two trainings would break each other's files: the second is refused before it begins."""
    with locked(world / "taken"):
        assert train(world, "taken") == 1
    assert "another process is writing into" in one_line(capsys)


def test_settings_of_the_other_kind_are_refused(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A VAE has no codebook, and a tokenizer no latent_dim."""
    assert train(world, "x", "--tokenizer-kind", "vae", "--set", "codebook=ema") == 2
    assert "no setting named 'codebook'" in one_line(capsys)
    assert train(world, "x", "--set", "latent_dim=4") == 2
    assert "no setting named 'latent_dim'" in one_line(capsys)
    with pytest.raises(SystemExit) as stop:
        train(world, "x", "--tokenizer-kind", "vq-vae")
    assert stop.value.code == 2
    assert "invalid choice: 'vq-vae'" in one_line(capsys)


@pytest.mark.parametrize("name", ["seed", "steps", "minutes"])
def test_flags_are_not_settings(world: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs by `--set seed=0` and `--set seed=1` were the same run."""
    assert train(world, "x", "--set", f"{name}=1") == 2
    assert f"{name} has a flag of its own: --{name} 1" in one_line(capsys)


def test_each_codebook_trains(world: Path) -> None:
    """`--set codebook=` chooses how the codes learn, and the checkpoint says which."""
    for name in ("ema", "gradient"):
        assert train(world, name, "--set", f"codebook={name}", "--set", "codebook_size=8") == 0
        assert json.loads((world / name / "config.json").read_text())["config"]["codebook"] == name


def test_sizes_without_patches_are_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A grid of 3 codes to a side is odd: said before a tokenizer is trained that nobody could use."""
    record_toy(tmp_path / "d", frame_size=48)
    assert train(tmp_path, "x", "--set", "downsamplings=4") == 2
    assert "record with --set frame_size=32 or frame_size=64" in one_line(capsys)
