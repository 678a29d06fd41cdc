"""Video strips show what they say they show."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.worlds import record_toy, tiny_simulator
from worldmodel.evaluation.harness.subject import Subject
from worldmodel.evaluation.questions import strips
from worldmodel.rollouts import EpisodeDataset


def frames_of(sheet: Image.Image, row: int, *, rows: int) -> np.ndarray:
    """The frames of one row of a strip of 32x32 frames."""
    picture = np.asarray(sheet)
    left = picture.shape[1] - len(strips.STEPS) * (32 + strips.GAP)
    top = picture.shape[0] - (rows - row) * (32 + strips.GAP)
    xs = [left + i * (32 + strips.GAP) for i in range(len(strips.STEPS))]
    return np.stack([picture[top : top + 32, x : x + 32] for x in xs])


def test_strips_are_the_recording_and_its_imagination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real row is the recording at the steps named; the others are what the simulator makes of the same clip."""
    dataset, simulator = EpisodeDataset(record_toy(tmp_path / "d")), tiny_simulator()
    subject = Subject(simulator=simulator, dataset=dataset, num_clips=30, quick=True, context=3)
    drawn: list[tuple[dict[str, np.ndarray], list[str]]] = []
    draw = strips.draw_strip
    monkeypatch.setattr(
        strips, "draw_strip", lambda rows, actions: drawn.append((rows, actions)) or draw(rows, actions)
    )
    found = strips.measure(subject, lambda done, total: None)
    assert len(found.pictures) == strips.QUICK_CLIPS
    clips = subject.clips(strips.HORIZON, number=3)
    at = np.array(strips.STEPS) - 1
    for (name, picture), (rows, actions) in zip(found.pictures.items(), drawn, strict=True):
        (index,) = (i for i, (episode, start) in enumerate(clips.places) if name == f"episode {episode}, frame {start}")
        clip, done = clips.frames[index], clips.actions[index]
        assert actions == [simulator.action_names[action] for action in done[2:]]
        every = simulator.imagine(clips.frames[:, :3], clips.actions[:, :2], clips.actions[:, 2:], seed=0).frames
        np.testing.assert_array_equal(rows["model"], every[index])
        sheet = Image.open(io.BytesIO(base64.b64decode(picture.png)))
        for row, frames in enumerate(rows.values()):
            np.testing.assert_array_equal(frames_of(sheet, row, rows=len(rows)), frames[at])
        np.testing.assert_array_equal(rows["real"], clip[3:])
        rebuilt = simulator.decode(simulator.tokenizer.encode(clip[None, 3:]))[0]
        np.testing.assert_array_equal(rows["reconstruction"], rebuilt)
        assert list(rows) == ["real", "reconstruction", "model", "no_actions"]
