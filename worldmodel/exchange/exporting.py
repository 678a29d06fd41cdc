"""A data set as videos or pictures, each episode with its steps beside it as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..rollouts import Episode, EpisodeDataset
from ..rollouts.lock import FILE, locked
from ..video.mp4 import write_video


def export_files(dataset: EpisodeDataset, path: Path, *, pictures: bool) -> None:
    """Write each episode into the new directory `path`: `episode-N.mp4` and `.jsonl`, or a folder of pictures.

    Raises:
        ValueError: if the directory holds something already, or an episode cannot be read.
    """
    with locked(path):
        refuse_used(path)
        for index in range(len(dataset)):
            episode, name = dataset.episode(index), f"episode-{index:06d}"
            if pictures:
                _write_pictures(path / name, episode.frames)
                steps = path / name / "steps.jsonl"
            else:
                write_video(
                    path / f"{name}.mp4", iter(episode.frames), frames_per_second=dataset.info.frames_per_second
                )
                steps = path / f"{name}.jsonl"
            steps.write_text(_lines(episode, dataset.info.action_names))


def refuse_used(path: Path) -> None:
    """Raise ValueError if the directory is not empty."""
    if any(child.name != FILE for child in path.iterdir()):
        raise ValueError(f"{path} is not empty; choose another --out")


def _write_pictures(folder: Path, frames: np.ndarray) -> None:
    from PIL import Image

    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame-{number:06d}.png")


def _lines(episode: Episode, action_names: Sequence[str]) -> str:
    steps = episode.steps
    rows = [
        {
            "action": action_names[action],
            "reward": float(reward),
            "terminated": bool(terminated),
            "truncated": bool(truncated),
        }
        for action, reward, terminated, truncated in zip(
            steps.actions, steps.rewards, steps.terminated, steps.truncated, strict=True
        )
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)
