"""The checkpoints that come with the package, by name."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from tests.worlds import record_toy, save_simulator
from worldmodel.checkpoints import gallery
from worldmodel.commands import main
from worldmodel.environment.imagined_env import ImaginedEnv
from worldmodel.simulator import PRETRAINED, Simulator


def test_maze_is_the_default() -> None:
    """The checkpoint that ships is called maze, and its episodes are there."""
    assert gallery.names()[0] == gallery.DEFAULT == "maze"
    assert gallery.path("maze") == PRETRAINED
    assert gallery.episodes("maze") == PRETRAINED.parent / "episodes"
    assert gallery.describe("maze").startswith("VizdoomMyWayHome-v1, 8.75 frames/s, actions: noop, forward, ")


def test_every_folder_with_a_dynamics_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is found in a folder or in its `dynamics`; a tokenizer, a data set or a broken file is none."""
    monkeypatch.setattr(gallery, "FOLDER", tmp_path)
    model = save_simulator(tmp_path / "dynamics")
    shutil.copytree(model, tmp_path / "pong")
    shutil.copytree(model, tmp_path / "breakout" / "dynamics")
    shutil.copytree(model / "tokenizer", tmp_path / "tokenizer")
    record_toy(tmp_path / "pong" / "episodes", episodes=1)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    assert gallery.names() == ("maze", "breakout", "pong")
    assert gallery.path("breakout") == tmp_path / "breakout" / "dynamics"
    assert gallery.episodes("pong") == tmp_path / "pong" / "episodes"
    assert gallery.episodes("breakout") is None
    assert gallery.own_episodes("pong") == gallery.own_episodes(tmp_path / "pong") == tmp_path / "pong" / "episodes"
    assert gallery.own_episodes("breakout") == gallery.own_episodes(tmp_path) == tmp_path / "episodes"
    assert gallery.describe("pong").startswith("toy, ")
    assert gallery.describe("breakout").startswith("no episodes, ")


def test_a_directory_or_a_name(tmp_path: Path) -> None:
    """A directory is itself; a name is looked up; a typo gets the nearest name."""
    assert gallery.resolve(str(tmp_path)) == tmp_path
    assert gallery.resolve("maze") == PRETRAINED
    with pytest.raises(ValueError, match="did you mean 'maze'"):
        gallery.resolve("maz")


def test_names_are_checkpoints_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name is enough to load a simulator, to be an environment with contexts of its own, and for the commands."""
    simulator = Simulator.from_pretrained("basic")
    with closing(ImaginedEnv("basic", observation="frames")) as env:
        frame, _ = env.reset(seed=0)
        assert env.action_space.n == len(simulator.action_names) == 4  # type: ignore[attr-defined]
        assert frame.shape == (64, 64, 3)
    assert main(["inspect", "basic"]) == 0
    assert "dynamics checkpoint" in capsys.readouterr().out
    assert main(["convert", "basic", str(tmp_path / "copy")]) == 0
    assert (tmp_path / "copy" / "config.json").exists()
    words = ["train-agent", "--checkpoint", "basick", "--data", str(tmp_path), "--out", str(tmp_path / "a")]
    assert main(words) == 1
    assert "did you mean 'basic'" in capsys.readouterr().err


def test_a_folder_called_as_a_game_is_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of the gallery wins over a folder without a checkpoint, and a checkpoint's folder over the name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maze").mkdir()
    assert gallery.resolve("maze") == PRETRAINED
    save_simulator(tmp_path / "maze")
    assert gallery.resolve("maze") == Path("maze")
