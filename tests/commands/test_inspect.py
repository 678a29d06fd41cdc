"""The inspect command: what is there, and whether it is as it was written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.worlds import record_toy, save_simulator
from worldmodel.commands import main
from worldmodel.rollouts import EpisodeDataset


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def test_data_set_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Episodes, frames, split, actions, coverage, the fingerprint, and that every file is intact."""
    dataset = EpisodeDataset(record_toy(tmp_path / "d"))
    assert main(["inspect", str(dataset.path)]) == 0
    out = capsys.readouterr().out
    for fact in (
        "3 episodes",
        "303 frames",
        "32x32",
        "split train",
        "forward ",
        "map cells",
        dataset.fingerprint,
        "intact",
    ):
        assert fact in out


def test_damage_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A flipped bit and a missing file are named on stderr, with exit code 1; the rest is still described."""
    path = record_toy(tmp_path / "d")
    flip(path / "episode-000001.parquet", 1000)
    (path / "episode-000002.parquet").unlink()
    assert main(["inspect", str(path)]) == 1
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "episode-000001.parquet: SHA-256 does not match the manifest",
        "episode-000002.parquet: No such file or directory",
    ]
    assert "3 episodes" in out
    assert "intact" not in out


def test_many_problems_are_few_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """However much is damaged, stderr has at most five lines."""
    path = record_toy(tmp_path / "d", episodes=9)
    for file in path.glob("*.parquet"):
        flip(file, 500)
    assert main(["inspect", str(path)]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "... and 5 more"


def test_checkpoint_is_described_without_torch(tmp_path: Path) -> None:
    """A checkpoint's kind and config, and those of the tokenizer inside, are printed; torch is not imported for it."""
    save_simulator(tmp_path / "m")
    code = "import sys; from worldmodel.commands import main; code = main(['inspect', 'm']); "
    code += "assert 'torch' not in sys.modules; sys.exit(code)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for fact in ("m: dynamics checkpoint", "tokenizer checkpoint", "window=8", "intact"):
        assert fact in done.stdout


def test_damaged_checkpoint_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A flipped bit in the weights, also of the tokenizer inside, is named, with exit code 1."""
    path = save_simulator(tmp_path / "m")
    files = sorted(path.rglob("*.safetensors"))
    assert {file.parent for file in files} == {path, path / "tokenizer"}
    for file in files:
        flip(file, -1)
        assert main(["inspect", str(path)]) == 1
        assert f"{file}: SHA-256 does not match config.json" in capsys.readouterr().err
        flip(file, -1)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"kind": "dynamics", "config": 3, "metrics": {}, "files": {}}'])
def test_what_is_neither_gets_one_line(content: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory that is no data set and no checkpoint, or a broken description, is one line and exit code 1."""
    Path("x").mkdir()
    assert main(["inspect", "x"]) == 1
    assert "no data set in x" in capsys.readouterr().err
    (Path("x") / "config.json").write_text(content)
    assert main(["inspect", "x"]) == 1
    err = capsys.readouterr().err
    assert "config.json" in err
    assert err.count("\n") == 1
