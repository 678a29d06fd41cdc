"""Recordings: the video shows what was seen, and the episode can be trained on."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from worldmodel.play.library import Library
from worldmodel.play.real import RealGame
from worldmodel.play.recording import HEADER, MARGIN, VideoRecording, draw, next_video, save_episode
from worldmodel.play.session import Shown
from worldmodel.rollouts import EpisodeDataset


def shown(number: int, **images: np.ndarray) -> Shown:
    return Shown(number=number, action="forward", images=images, real_ended=False)


def frame(value: int) -> np.ndarray:
    return np.full((32, 32, 3), value, np.uint8)


def test_video_has_every_frame(tmp_path: Path) -> None:
    """As many frames as were added, at the game's rate, the views beside each other."""
    recording = VideoRecording(tmp_path / "play.mp4", views=["imagined", "real"], frames_per_second=8.75)
    recording.add(shown(0, imagined=frame(40)))  # the real one has not been seen yet
    for number in range(1, 6):
        recording.add(shown(number, imagined=frame(40), real=frame(200)))
    assert recording.close() == tmp_path / "play.mp4"
    with av.open(str(tmp_path / "play.mp4")) as container:
        frames = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
        assert float(container.streams.video[0].average_rate or 0) == pytest.approx(8.75)
    assert len(frames) == 5
    height, width = frames[0].shape[:2]
    assert abs(int(frames[0][height // 2, width // 4].mean()) - 40) < 6
    assert abs(int(frames[0][height // 2, 3 * width // 4].mean()) - 200) < 6


def test_a_video_has_the_shape_of_the_game() -> None:
    """A tall screen that the model sees as a square is tall again; its pixels stay whole."""
    views = [("imagined", np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3))]
    square, tall = (draw(views, None, aspect=aspect, side=64) for aspect in (1.0, 0.5))
    assert (tall.shape[0] - square.shape[0], tall.shape[1]) == (64, square.shape[1])
    assert np.array_equal(tall[HEADER : HEADER + 128 : 2, MARGIN:-MARGIN], square[HEADER : HEADER + 64, MARGIN:-MARGIN])


def test_video_without_frames_is_none(tmp_path: Path) -> None:
    """A recording that is ended at once leaves nothing behind."""
    assert VideoRecording(tmp_path / "play.mp4", views=["imagined"], frames_per_second=8.75).close() is None
    assert list(tmp_path.iterdir()) == []


def test_videos_are_numbered(tmp_path: Path) -> None:
    """No video replaces another, finished or not."""
    assert next_video(tmp_path).name == "play-0001.mp4"
    (tmp_path / "play-0007.partial.mp4").touch()
    assert next_video(tmp_path).name == "play-0008.mp4"


def test_episodes_become_a_data_set(library: Library, tmp_path: Path) -> None:
    """Every recording adds a whole real episode; the files are intact, and each frame is the engine's."""
    loaded = library.load(library.first)
    for count, start in enumerate(loaded.starts[:2], 1):
        game = RealGame(start.context, loaded.simulator.action_names)
        path = save_episode(tmp_path, game, [1, 2, 3])
        dataset = EpisodeDataset(path)
        assert len(dataset) == count
        assert dataset.verify(count - 1) is None
        assert dataset.info.policy == "play"
        assert dataset.info.split == "train"
        episode = dataset.episode(count - 1)
        np.testing.assert_array_equal(episode.frames[-1], game.follow([1, 2, 3]))
        assert len(episode.actions) == len(game.origin.actions) + 3
        assert set(dataset.info.variables) == set(episode.variables)


def test_other_settings_are_another_data_set(library: Library, tmp_path: Path) -> None:
    """A data set of the same name that was recorded otherwise is left as it is."""
    loaded = library.load(library.first)
    game = RealGame(loaded.starts[0].context, loaded.simulator.action_names)
    first = save_episode(tmp_path, game, [1])
    text = (first / "dataset.json").read_text()
    other = tmp_path / "toy-train"
    assert first == other
    (other / "dataset.json").unlink()
    from worldmodel.rollouts.manifest import read_info, write_info

    (other / "dataset.json").write_text(text)
    info = read_info(other)
    write_info(other, type(info)(**{**vars(info), "policy": "random"}))
    assert save_episode(tmp_path, game, [1]).name == "toy-train-2"
    assert len(EpisodeDataset(other)) == 1
