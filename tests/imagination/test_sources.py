"""Where the context comes from: what `--from` means, and that frames, actions and origin belong together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.worlds import record_toy, tiny_simulator
from worldmodel.imagination.sources import Context, Origin, Source, load_context, motion, moving_start, view_changes
from worldmodel.rollouts import EpisodeDataset
from worldmodel.simulator import Simulator
from worldmodel.video.mp4 import write_video


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_toy(tmp_path_factory.mktemp("toy") / "data")


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return tiny_simulator()


def load(text: str, simulator: Simulator, *, seed: int = 0, num_frames: int = 6) -> Context:
    return load_context(Source.parse(text), simulator, num_frames=num_frames, horizon=10, seed=seed)


def test_what_the_text_means(data: Path, tmp_path: Path) -> None:
    """Directory, episode number, episode file, video and live game are told apart; `@` names the first frame."""
    video = write_video(tmp_path / "a@b.mp4", [np.zeros((32, 32, 3), np.uint8)], frames_per_second=8)
    expected = {
        f"{data}": ("dataset", str(data), None, None),
        f"{data}:2": ("dataset", str(data), 2, None),
        f"{data}:2@40": ("dataset", str(data), 2, 40),
        f"{data}@40": ("dataset", str(data), None, 40),
        f"{data}/episode-000001.parquet@3": ("dataset", str(data), 1, 3),
        f"{video}": ("video", str(video), None, None),
        f"{video}@7": ("video", str(video), None, 7),
        "env:toy": ("env", "toy", None, None),
        "env:toy@12": ("env", "toy", None, 12),
    }
    for text, (kind, place, episode, frame) in expected.items():
        assert Source.parse(text) == Source(kind=kind, place=place, episode=episode, frame=frame)


def test_context_is_the_recording(data: Path, simulator: Simulator) -> None:
    """Frames and the actions between them are those of the episode, aligned, and its origin leads to the last one."""
    episode = EpisodeDataset(data).episode(1)
    context = load(f"{data}:1@20", simulator)
    np.testing.assert_array_equal(context.frames, episode.frames[20:26])
    np.testing.assert_array_equal(context.actions, episode.actions[20:25])
    assert context.origin is not None
    np.testing.assert_array_equal(context.origin.actions, episode.actions[:25])
    assert context.origin.seed == episode.seed


def test_actions_are_translated_by_name(data: Path) -> None:
    """A model whose actions are ordered otherwise gets its own indices, and an action it does not know is an error."""
    from tests.models import tiny_dynamics

    names = EpisodeDataset(data).info.action_names
    context = load(f"{data}:0@0", tiny_simulator(), num_frames=8)
    shuffled = tiny_simulator()
    shuffled.dynamics = tiny_dynamics(action_names=("right", "left", "extra", "forward", "noop"))
    again = load(f"{data}:0@0", shuffled, num_frames=8)
    assert [shuffled.action_names[i] for i in again.actions] == [names[i] for i in context.actions]
    shuffled.dynamics = tiny_dynamics(action_names=("noop",))
    with pytest.raises(ValueError, match="which the model does not know"):
        load(f"{data}:0@0", shuffled, num_frames=8)


def test_start_is_the_seeds_choice(data: Path, simulator: Simulator) -> None:
    """The same seed starts at the same frame, other seeds elsewhere too."""
    starts = [tuple(load(str(data), simulator, seed=seed).description.values()) for seed in (0, 0, 1, 2, 3, 4)]
    assert starts[0] == starts[1]
    assert len(set(starts)) > 1


def test_default_start_moves() -> None:
    """The stillest step after the chosen start, over context and horizon, moves more than after most other starts."""
    rng = np.random.default_rng(0)
    motions = {index: rng.random(length).astype(np.float32) for index, length in ((3, 60), (5, 200))}
    stillest = {
        (index, start): steps[start : start + 15].min()
        for index, steps in motions.items()
        for start in range(len(steps) - 14)
    }
    chosen = [moving_start(motions, 6, horizon=10, seed=seed) for seed in range(20)]
    assert len(set(chosen)) > 5
    assert min(stillest[choice] for choice in chosen) >= np.quantile(list(stillest.values()), 0.75)
    assert moving_start({0: np.zeros(0, np.float32)}, 1, horizon=1, seed=0) == (0, 0)


def test_motion_wants_the_player_to_move(data: Path) -> None:
    """A turn on the spot changes the view but goes nowhere: it counts nothing where positions are known."""
    dataset = EpisodeDataset(data)
    episode = dataset.episode(0)
    names = [dataset.info.action_names[action] for action in episode.actions]
    changes, weighted = view_changes(episode.frames), motion(episode)
    assert all((changes[i] > 1) == (name != "noop") for i, name in enumerate(names))
    assert all((weighted[i] > 1) == (name == "forward") for i, name in enumerate(names))


def test_video_has_no_actions(tmp_path: Path, simulator: Simulator) -> None:
    """A video is a context whose actions are not known and which no game can replay."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1) for _ in range(9)]
    path = write_video(tmp_path / "a.mp4", frames, frames_per_second=8.75)
    context = load(str(path), simulator)
    assert context.frames.shape == (6, 32, 32, 3)
    assert context.actions.tolist() == [-1] * 5
    assert context.origin is None
    with pytest.raises(ValueError, match=r"longer than .*, which has 9"):
        load(str(path), simulator, num_frames=10)


def test_live_game_is_played_with_a_test_seed(simulator: Simulator) -> None:
    """A game is played at the model's size and speed, with a seed that training never sees, the same for one seed."""
    first, again = (load("env:toy", simulator, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.frames, again.frames)
    assert first.origin is not None
    assert first.origin.seed == 1_000_005
    assert first.origin.settings["frame_skip"] == simulator.frame_skip


def test_another_game_is_said(data: Path, tmp_path: Path) -> None:
    """A source of another game than the checkpoint's is named in a line; one of the same, or of none known, is not."""
    model = tiny_simulator(env="ALE/Pong-v5")
    known = f"{data} is of toy, the checkpoint was trained on ALE/Pong-v5; name another unless this is meant"
    assert Source.parse(f"{data}:1@3").other_game(model) == known
    assert str(Source.parse("env:my:Pong-v0").other_game(model)).startswith("env:my:Pong-v0 is of my:Pong-v0, the ch")
    assert Source.parse("env:ale_py:ALE/Pong-v5").other_game(model) is None
    assert Source.parse(str(data)).other_game(tiny_simulator()) is None
    video = write_video(tmp_path / "a.mp4", [np.zeros((32, 32, 3), np.uint8)], frames_per_second=8)
    assert Source.parse(str(video)).other_game(model) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{data}:3", "has episodes 0 to 2, not 3"),
        ("{data}:0@99", "cannot begin at 99; at most at 95"),
        ("{data}@99", "has no episode of 105 frames"),
        ("{data}/nothing", "no data set, episode or video at"),
        ("{empty}", "no data set in"),
        ("env:toi", "no environment named 'toi'; did you mean 'toy'"),
        ("{other}", "frame_size 64, the model was trained with 32"),
    ],
)
def test_refuses(data: Path, tmp_path: Path, simulator: Simulator, text: str, says: str) -> None:
    """What is not there, too short or of another size is named in one line."""
    (tmp_path / "empty").mkdir()
    other = record_toy(tmp_path / "other", frame_size=64, episodes=1) if "other" in text else ""
    with pytest.raises((ValueError, OSError), match=says) as raised:
        load(text.format(data=data, empty=tmp_path / "empty", other=other), simulator)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "aspect"),
    [
        ({"fit": "squash", "screen_size": [210, 160]}, 160 / 210),
        ({"fit": "pad", "screen_size": [210, 160]}, 1.0),
        ({"screen_size": [210, 160]}, 1.0),
        ({"fit": "squash", "screen_size": [1, 900]}, 4.0),
        ({"fit": "squash", "screen_size": [0, 160]}, 1.0),
        ({"fit": "squash", "screen_size": "wide"}, 1.0),
    ],
)
def test_a_squashed_picture_knows_its_shape(settings: dict[str, object], aspect: float) -> None:
    """A context is shown at the game's aspect where all of the picture was squashed, and never at an absurd one."""
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    origin = Origin(settings=settings, seed=0, actions=np.zeros(1, np.int64))
    assert Context(frames=frames, actions=origin.actions, description={}, origin=origin).aspect == aspect
    assert Context(frames=frames, actions=origin.actions, description={}).aspect == 1.0
