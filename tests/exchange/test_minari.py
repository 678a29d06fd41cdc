"""Minari's data sets: what Minari wrote is imported, and what is exported Minari reads, bit for bit."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import minari
import numpy as np
import pytest
from gymnasium import spaces
from minari.data_collector.episode_buffer import EpisodeBuffer

from tests.worlds import record_toy
from worldmodel.commands import main
from worldmodel.rollouts import DatasetInfo, EpisodeDataset
from worldmodel.rollouts.manifest import append_record, write_info
from worldmodel.rollouts.storage import EpisodeEncoder

SIDE = 40
SCREEN = spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
RATE = "frames_per_second=10"

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Minari's advice on authors and links


@pytest.fixture(autouse=True)
def minari_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Minari keeps its data sets."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "home"))
    return tmp_path / "home"


def screens(steps: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(steps).integers(0, 256, (steps + 1, *(shape or (SIDE, SIDE, 3))), dtype=np.uint8)


def buffer(observations: Any, actions: np.ndarray, *, truncated: bool = False) -> EpisodeBuffer:
    count = len(actions)
    is_last = np.arange(count) == count - 1
    return EpisodeBuffer(
        observations=observations,
        actions=actions,
        rewards=np.arange(count) / 3,
        terminations=is_last & (not truncated),
        truncations=is_last & truncated,
    )


def create(
    *buffers: EpisodeBuffer, observation_space: Any = SCREEN, action_space: Any = None, kind: str = "hdf5"
) -> Path:
    """Let Minari write a data set, and return its folder."""
    made = minari.create_dataset_from_buffers(
        "tests/made-v0",
        list(buffers),
        observation_space=observation_space,
        action_space=action_space or spaces.Discrete(3),
        data_format=kind,
        jpeg_encoding=False,
    )
    return Path(made.storage.data_path).parent


def imported(source: Path, *settings: str) -> EpisodeDataset:
    assert main(["import", str(source), "--out", "d", "--set", f"frame_size={SIDE}", RATE, *settings]) == 0
    return EpisodeDataset("d")


def refused(source: Path, capsys: pytest.CaptureFixture[str], *settings: str) -> str:
    assert main(["import", str(source), "--out", "d", "--set", f"frame_size={SIDE}", *settings]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("kind", ["hdf5", "arrow", "parquet"])
def test_what_minari_wrote_is_imported(kind: str) -> None:
    """Frames, actions, rewards and how it ended are the same, in each of Minari's formats."""
    actions = [np.array([0, 2, 1, 1]), np.array([1, 0])]
    frames = [screens(4), screens(2)]
    folder = create(buffer(frames[0], actions[0]), buffer(frames[1], actions[1], truncated=True), kind=kind)
    dataset = imported(folder)
    assert dataset.info.action_names == ("action_0", "action_1", "action_2")
    for index in range(2):
        episode = dataset.episode(index)
        assert np.array_equal(episode.frames, frames[index])
        assert np.array_equal(episode.actions, actions[index])
        assert np.array_equal(episode.rewards, (np.arange(len(actions[index])) / 3).astype(np.float32))
        assert (episode.terminated, episode.truncated) == (index == 0, index == 1)
        assert episode.final_action is None


def test_the_folder_inside_and_names_of_ones_own() -> None:
    """`data`, which Minari's API speaks of, is understood as well; numbers may start elsewhere."""
    folder = create(buffer(screens(2), np.array([5, 6])), action_space=spaces.Discrete(2, start=5))
    dataset = imported(folder / "data", "actions=left,right")
    assert [dataset.info.action_names[action] for action in dataset.actions(0)] == ["left", "right"]


def test_one_picture_among_other_observations() -> None:
    """Of a dictionary with a mission and small symbols, the picture is taken; buttons are named by combination."""
    frames = screens(2)
    space = spaces.Dict({"view": SCREEN, "symbols": spaces.Box(0, 255, (7, 7, 3), np.uint8), "map": spaces.Discrete(4)})
    observations = {"view": frames, "symbols": screens(2, 7, 7, 3), "map": np.zeros(3, np.int64)}
    pressed = np.array([[1, 0], [1, 1]], np.int8)
    dataset = imported(
        create(buffer(observations, pressed), observation_space=space, action_space=spaces.MultiBinary(2))
    )
    assert np.array_equal(dataset.episode(0).frames, frames)
    assert [dataset.info.action_names[action] for action in dataset.actions(0)] == ["button_0", "button_0+button_1"]


@pytest.mark.parametrize("shape", [(4, SIDE, SIDE), (SIDE, SIDE, 4), (2, SIDE, SIDE, 3), (SIDE, SIDE), (3, SIDE, SIDE)])
def test_stacked_pictures_are_the_newest(shape: tuple[int, ...]) -> None:
    """Of a frame stack the last picture is the frame; grey and planes become RGB."""
    frames = screens(2, *shape)
    dataset = imported(create(buffer(frames, np.array([0, 1])), observation_space=spaces.Box(0, 255, shape, np.uint8)))
    newest = {
        (4, SIDE, SIDE): lambda: frames[:, -1, :, :, None].repeat(3, axis=3),
        (SIDE, SIDE, 4): lambda: frames[..., -1:].repeat(3, axis=3),
        (2, SIDE, SIDE, 3): lambda: frames[:, -1],
        (SIDE, SIDE): lambda: frames[..., None].repeat(3, axis=3),
        (3, SIDE, SIDE): lambda: frames.transpose(0, 2, 3, 1),
    }[shape]()
    assert np.array_equal(dataset.episode(0).frames, newest)


def test_what_cannot_be_imported_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers in place of pictures, two pictures, and actions that are no list are refused with what is wrong."""
    two = spaces.Dict({"left": SCREEN, "right": SCREEN})
    cases: list[tuple[Any, Any, Any, np.ndarray, str]] = [
        (spaces.Box(-1, 1, (4,)), np.zeros((3, 4), np.float32), spaces.Discrete(2), np.array([0, 1]), "found 0 (none)"),
        (two, {"left": screens(2), "right": screens(2)}, spaces.Discrete(2), np.array([0, 1]), "2 (left, right)"),
        (SCREEN, screens(2), spaces.Box(-1, 1, (1,)), np.zeros((2, 1), np.float32), "only Discrete"),
    ]
    for space, observations, action_space, actions, message in cases:
        folder = create(buffer(observations, actions), observation_space=space, action_space=action_space)
        assert message in refused(folder, capsys, RATE)
        minari.delete_dataset("tests/made-v0")
    assert "--set frames_per_second=10" in refused(create(buffer(screens(2), np.array([0, 1]))), capsys)
    assert not Path("d/episodes.jsonl").exists()


def test_an_end_in_the_middle_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Two games in one episode are not joined to one."""
    joined = buffer(screens(3), np.array([0, 1, 2]))
    joined.terminations[0] = True
    assert "ends at step 0 and goes on" in refused(create(joined), capsys, RATE)


def test_a_damaged_or_hostile_file_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A file that names a function in place of its spaces does not have it called; a cut file is said."""
    folder = create(buffer(screens(2), np.array([0, 1])))
    file = folder / "data" / "metadata.json"
    metadata = json.loads(file.read_text())
    trap = tmp_path / "called"
    spec = {"id": "Trap-v0", "entry_point": "pathlib:Path.touch", "kwargs": {"self": str(trap)}}
    hostile = {key: value for key, value in metadata.items() if not key.endswith("_space")}
    file.write_text(json.dumps({**hostile, "env_spec": json.dumps(spec)}))
    assert "observation_space" in refused(folder, capsys, RATE)
    assert not trap.exists()
    file.write_text(json.dumps(metadata))
    main_file = folder / "data" / "main_data.hdf5"
    main_file.write_bytes(main_file.read_bytes()[:900])
    assert "cannot read" in refused(folder, capsys, RATE)


def test_without_minari_the_line_to_install_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The optional package is asked for only by who needs it, in one line."""
    folder = create(buffer(screens(2), np.array([0, 1])))
    toy = record_toy(tmp_path / "toy", episodes=1)
    monkeypatch.setitem(sys.modules, "minari", None)
    assert "pip install -e '.[minari]'" in refused(folder, capsys, RATE)
    assert main(["export", str(toy), "--format", "minari", "--out", "x"]) == 1
    assert "pip install -e '.[minari]'" in capsys.readouterr().err
    assert not Path("x").exists()


def test_minari_reads_what_is_exported(minari_home: Path, tmp_path: Path) -> None:
    """Minari's own reader finds the data set by its name, with every frame, action, reward and end."""
    original = EpisodeDataset(record_toy(tmp_path / "toy", episodes=2))
    assert main(["export", str(original.path), "--format", "minari", "--out", str(minari_home / "toy-v0")]) == 0
    read = minari.load_dataset("toy-v0")
    assert read.action_space == spaces.Discrete(len(original.info.action_names))
    assert len(read) == 2
    for index, episode in enumerate(read):
        one = original.episode(index)
        assert np.array_equal(episode.observations, one.frames)
        assert np.array_equal(episode.actions, one.actions)
        assert np.array_equal(episode.rewards, one.rewards)
        assert episode.terminations[-1] == one.terminated
        assert episode.truncations[-1] == one.truncated


def test_an_end_that_showed_no_frame_comes_back(tmp_path: Path) -> None:
    """A game that ends unseen has one action more than frames lead on, before and after; names and rate are kept."""
    info = DatasetInfo(
        settings={"env": "x", "engine": "1", "frame_size": SIDE, "frame_skip": 1, "action_names": ["go", "left+jump"]},
        frames_per_second=7.5,
        variables=(),
        policy="random",
        split="train",
        seed=0,
    )
    path, frames = tmp_path / "unseen", screens(2)
    path.mkdir()
    write_info(path, info)
    for index in range(2):
        encoder = EpisodeEncoder(index, index, info=info)
        for number, frame in enumerate(frames):
            encoder.add(frame, {}, **({"action": 1, "reward": 0.1} if number else {}))
        if index == 0:
            encoder.end(0, -3.3)
        append_record(path, encoder.write(path, terminated=True, truncated=False))
    assert main(["export", str(path), "--format", "minari", "--out", "x"]) == 0
    assert main(["import", "x", "--out", "d", "--set", f"frame_size={SIDE}"]) == 0
    back = EpisodeDataset("d")
    assert (back.info.action_names, back.info.frames_per_second) == (("go", "left+jump"), 7.5)
    assert [back.episode(index).final_action for index in range(2)] == [0, None]
    assert back.episode(0).final_reward == np.float32(-3.3)
    for index in range(2):
        assert np.array_equal(back.episode(index).frames, frames)
        assert back.episode(index).terminated
