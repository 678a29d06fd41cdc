"""What can be played: the checkpoints, and the real frames where a game can begin."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.models import tiny_dynamics
from tests.play.serving import save_model
from tests.worlds import record_toy, save_simulator, tiny_simulator
from worldmodel.checkpoints import gallery
from worldmodel.envs import make_env
from worldmodel.play.library import LIVE, LIVE_SEEDS, Library, live_context
from worldmodel.play.real import RealGame
from worldmodel.rollouts import EpisodeDataset


def test_knows_the_gallery_and_the_given_one(library: Library) -> None:
    """The checkpoint of the command line comes first, those of the gallery after it."""
    assert library.names == ("toy-model", *gallery.names())


def test_starts_come_from_different_episodes(library: Library) -> None:
    """Each start is real frames of another episode, with the actions between them."""
    starts = library.load(library.first).starts
    assert [start.context.description["episode"] for start in starts] == [0, 1]
    for start in starts:
        episode, frame = map(int, start.name.split("@"))
        recorded = EpisodeDataset(str(start.context.description["dataset"])).episode(episode)
        np.testing.assert_array_equal(start.context.frames, recorded.frames[frame : frame + 6])


def test_a_new_game_is_real(library: Library) -> None:
    """`live` is a game that nobody has recorded, of a seed that no test data has, and the engine comes back to it."""
    loaded = library.load(library.first)
    start = loaded.start(LIVE, seed=3)
    assert start.context.origin is not None
    assert start.context.origin.seed == LIVE_SEEDS + 3
    game = RealGame(start.context, loaded.simulator.action_names)
    np.testing.assert_array_equal(game.follow([]), start.context.frames[-1])


def test_unknown_names(library: Library) -> None:
    """What is not there is refused by name."""
    with pytest.raises(ValueError, match="no checkpoint named 'x'"):
        library.load("x")
    with pytest.raises(ValueError, match="no start named '9@9'"):
        library.load(library.first).start("9@9", seed=0)
    with pytest.raises(ValueError, match="no checkpoint at nowhere"):
        Library("nowhere")


def test_an_episode_or_a_frame_can_be_named(library: Library, tmp_path: Path) -> None:
    """`--from DIR:1@20` is the only start there is."""
    data = record_toy(tmp_path / "data", episodes=2)
    model = save_model(tmp_path / "model")
    loaded = Library(str(model), source=f"{data}:1@20").load("model")
    assert [start.name for start in loaded.starts] == ["1@20"]
    assert loaded.start("", seed=0).name == "1@20"


def test_page_is_told_what_it_needs(library: Library) -> None:
    """Actions, the buttons they are made of with their keys, the rate, and a picture of each start."""
    described = library.load(library.first).describe()
    assert described["actions"] == ["noop", "forward", "left", "right"]
    assert [button["name"] for button in described["buttons"]] == ["forward", "left", "right"]
    assert described["buttons"][0]["keys"] == ["KeyW", "ArrowUp"]
    assert described["frames_per_second"] == 8.75
    assert described["aspect"] == 1.0
    assert all(start["image"].startswith("data:image/webp;base64,") for start in described["starts"])


def test_another_game_is_said(library: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint of one game that is to begin in another's recordings is played, and a line says so."""
    data = record_toy(tmp_path / "data", episodes=1)
    model = save_simulator(tmp_path / "model", env="ALE/Pong-v5")
    Library(str(model), source=str(data)).load("model")
    assert f"{data} is of toy, the checkpoint was trained on ALE/Pong-v5" in capsys.readouterr().err


def test_a_new_game_without_the_models_actions_is_refused() -> None:
    """A real game whose idle action the model does not know is named, and not looked up in vain."""
    simulator = tiny_simulator()
    simulator.dynamics = tiny_dynamics(action_names=("fire", "right"))
    with closing(make_env("toy", frame_size=32, frame_skip=4)) as game:
        settings = dict(game.settings)
    with pytest.raises(ValueError, match="the context does 'noop', which the model does not know"):
        live_context(simulator, settings, seed=1)
