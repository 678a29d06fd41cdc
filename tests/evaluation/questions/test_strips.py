"""Video strips show what they say they show."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from tests.worlds import record_toy, tiny_simulator
from worldmodel.evaluation.harness.subject import Subject
from worldmodel.evaluation.questions import strips
from worldmodel.rollouts import EpisodeDataset


def frames_of(png: str) -> np.ndarray:
    """The frames of a strip, without what is between them."""
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))
    width = picture.shape[0] + strips.GAP
    return np.stack([picture[:, i * width : i * width + picture.shape[0]] for i in range(len(strips.STEPS))])


def test_strips_are_the_recording_and_its_imagination(tmp_path: Path) -> None:
    """The real row is the recording at the steps named; the others are what the simulator makes of the same clip."""
    dataset, simulator = EpisodeDataset(record_toy(tmp_path / "d")), tiny_simulator()
    subject = Subject(simulator=simulator, dataset=dataset, quick=True, context=3)
    found = strips.measure(subject, lambda done, total: None)
    assert len(found["strips"]) == strips.QUICK_CLIPS
    at = np.array(strips.STEPS) - 1
    for strip in found["strips"]:
        episode, start = strip["place"]
        clip = dataset.frames(episode, start, start + 3 + strips.HORIZON)
        actions = dataset.actions(episode)[start : start + 2 + strips.HORIZON]
        np.testing.assert_array_equal(frames_of(strip["rows"]["real"]), clip[3:][at])
        assert strip["actions"] == [simulator.action_names[action] for action in actions[2:][at]]
        imagined = simulator.imagine(clip[None, :3], actions[None, :2], actions[None, 2:], seed=0).frames[0]
        np.testing.assert_array_equal(frames_of(strip["rows"]["model"]), imagined[at])
        untold = simulator.imagine(clip[None, :3], np.full((1, 2), -1), np.full((1, 10), -1), seed=0).frames[0]
        np.testing.assert_array_equal(frames_of(strip["rows"]["no_actions"]), untold[at])
        rebuilt = simulator.decode(simulator.tokenizer.encode(clip[None, 3:]))[0]
        np.testing.assert_array_equal(frames_of(strip["rows"]["reconstruction"]), rebuilt[at])
