"""Recordings from elsewhere: what is imported is what was recorded, or one clear line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.worlds import record_toy
from worldmodel.commands import main
from worldmodel.rollouts import EpisodeDataset
from worldmodel.video.mp4 import write_video

FRAMES = np.stack([np.full((24, 32, 3), 40 * number, np.uint8) for number in range(6)])
ACTIONS = ["left", "right", "left+jump", "noop", "left"]


def write_steps(file: Path, actions: list[str] | list[int]) -> None:
    """The same steps in each format."""
    if file.suffix == ".npz":
        np.savez(file, action=np.array(actions), reward=np.arange(len(actions)))
    elif file.suffix == ".jsonl":
        rows = [{"action": action, "reward": number} for number, action in enumerate(actions)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with open(file, "w", newline="") as stream:
            csv.writer(stream).writerows([["action", "reward"], *([a, n] for n, a in enumerate(actions))])


def write_pictures(folder: Path, frames: np.ndarray = FRAMES) -> None:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number}.png")


def imported(source: Path, *settings: str) -> EpisodeDataset:
    words = ["--set", "frame_size=16", *settings]
    assert main(["import", str(source), "--out", "d", *words]) == 0
    return EpisodeDataset("d")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".npz"])
def test_a_video_and_its_steps(tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Row t is the action between frame t and t+1; names keep their +, the rate is the video's own."""
    write_video(tmp_path / "a.mp4", iter(FRAMES), frames_per_second=12)
    write_steps(tmp_path / f"a{suffix}", ACTIONS)
    dataset = imported(tmp_path / "a.mp4")
    assert dataset.info.action_names == ("noop", "left", "left+jump", "right")
    assert dataset.info.frames_per_second == 12
    episode = dataset.episode(0)
    assert [dataset.info.action_names[action] for action in episode.actions] == ACTIONS
    assert episode.rewards.tolist() == [0, 1, 2, 3, 4]
    assert np.abs(episode.frames[:, 8, 8, 0].astype(int) - 40 * np.arange(6)).max() <= 4
    assert "6 frames" in capsys.readouterr().out


def test_pictures_in_natural_order_bit_for_bit(tmp_path: Path) -> None:
    """Frame 10 comes after frame 2; a step more than frames lead on is the final step; several folders are episodes."""
    many = np.stack([np.full((16, 16, 3), number, np.uint8) for number in range(12)])
    for name in ("run2", "run10"):
        write_pictures(tmp_path / "all" / name, many)
        write_steps(tmp_path / "all" / name / "steps.csv", [0, 1] * 6)
    dataset = imported(tmp_path / "all", "frames_per_second=10", "actions=stay,go")
    assert len(dataset) == 2
    episode = dataset.episode(1)
    assert np.array_equal(episode.frames, many)
    assert (episode.final_action, episode.final_reward) == (1, 11)
    assert dataset.info.action_names == ("stay", "go")


@pytest.mark.parametrize(
    ("actions", "settings", "message"),
    [
        (ACTIONS[:3], [], "has 6 frames and 3 actions"),
        ([*ACTIONS, "left", "left"], [], "has 6 frames and 7 actions"),
        (ACTIONS, ["actions=left,right"], "no action named"),
        ([0, 1, 2, 300, 1], [], "numbered actions are 0 to 255"),
        ([0, 1, 2, 2, 1], ["actions=a,b"], "there are 2 action names, but an action 2"),
        (ACTIONS, ["fit=stretch"], "fit is squash, pad, crop"),
    ],
)
def test_what_does_not_fit_is_one_line(
    tmp_path: Path, actions: list[str], settings: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counts, names and settings that do not fit are said in one line; no episode enters the manifest."""
    write_pictures(tmp_path / "run")
    write_steps(tmp_path / "run" / "steps.jsonl", actions)
    words = ["--set", "frames_per_second=10", *settings]
    assert main(["import", str(tmp_path / "run"), "--out", "d", *words]) in (1, 2)
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not Path("d/episodes.jsonl").exists()


def test_missing_parts_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No steps, two files of steps, no rate, nothing at all, a broken video: each is one line that says what to do."""
    write_pictures(tmp_path / "run")
    broken = tmp_path / "b.mp4"
    broken.write_bytes(b"no video")
    write_steps(tmp_path / "b.csv", ACTIONS)
    for source, message in (
        (tmp_path / "run", "needs its actions in"),
        (tmp_path / "x", "no recording"),
        (broken, "cannot read"),
    ):
        assert main(["import", str(source), "--out", "d"]) == 1
        assert message in capsys.readouterr().err
    write_steps(tmp_path / "run" / "a.csv", ACTIONS)
    assert main(["import", str(tmp_path / "run"), "--out", "d"]) == 1
    assert "--set frames_per_second=10" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["png", "lerobot", "minari", "mp4"])
def test_round_trip(tmp_path: Path, kind: str) -> None:
    """Exported and imported again, steps are the same; frames too, bit for bit, but for the video's."""
    original = EpisodeDataset(record_toy(tmp_path / "toy", episodes=2))
    assert main(["export", str(original.path), "--format", kind, "--out", "x"]) == 0
    assert main(["import", "x", "--out", "d", "--set", "frame_size=32", "frames_per_second=8"]) == 0
    back = EpisodeDataset("d")
    assert len(back) == 2
    for index in range(2):
        one, two = original.episode(index), back.episode(index)
        names = [np.array(dataset.info.action_names) for dataset in (original, back)]
        assert np.array_equal(names[0][one.actions], names[1][two.actions])
        assert np.array_equal(one.rewards, two.rewards)
        assert (one.terminated, one.truncated, one.final_action) == (two.terminated, two.truncated, two.final_action)
        difference = np.abs(one.frames.astype(int) - two.frames)
        assert difference.max() == 0 if kind != "mp4" else difference.mean() < 40
