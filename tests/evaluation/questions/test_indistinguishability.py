"""Indistinguishability: its spoiled videos are spoiled as they say, and its claims go red when the checker is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.worlds import record_toy, tiny_simulator
from worldmodel.evaluation.harness.subject import Subject
from worldmodel.evaluation.metrics import probe
from worldmodel.evaluation.metrics.classifier import SEEN
from worldmodel.evaluation.questions import indistinguishability
from worldmodel.evaluation.questions.indistinguishability import (
    _classifier_claims,
    _distance_claims,
    _videos,
    blurred,
    measure,
    shuffled,
    wrong_actions,
)
from worldmodel.rollouts import EpisodeDataset


@pytest.fixture
def subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """The toy world and a model with random weights, asked as briefly as can be."""
    monkeypatch.setattr(probe, "STEPS", 10)
    monkeypatch.setattr(indistinguishability, "STEPS", 8)
    monkeypatch.setattr(indistinguishability, "QUICK_CLIPS", 10)
    monkeypatch.setattr(indistinguishability, "HORIZONS", (1, 3))
    dataset = EpisodeDataset(record_toy(tmp_path / "data", episodes=2))
    return Subject(simulator=tiny_simulator(), dataset=dataset, context=2, quick=True)


def test_whole_answer(subject: Subject) -> None:
    """The answer is JSON with a number for each horizon in each row."""
    told: list[float] = []
    result = measure(subject, lambda done, total: told.append(done / total))
    assert told == sorted(told)
    assert told[-1] == 1
    json.dumps(result, allow_nan=False)
    assert result["horizons"] == [1, 3]
    assert all(len(row["mean"]) == 2 for row in result["classifier"]["accuracy"].values())
    assert all(len(row) == 2 for row in result["kernel_distance"]["distance"].values())
    assert len(result["sanity"]) == 5


def test_films_are_the_context_and_the_future(subject: Subject) -> None:
    """Each video ends a context that went through the tokenizer where its future did; what is real is real."""
    clips = subject.clips(3, number=4)
    videos = _videos(subject, clips, lambda done, total: None)
    assert {video.shape[1] for video in videos.values()} == {SEEN - 1 + 3}
    np.testing.assert_array_equal(videos["real"], clips.frames[:, [0, 0, 1, 2, 3, 4]])
    np.testing.assert_array_equal(videos["copy_last"], clips.frames[:, [0, 0, 1, 1, 1, 1]])
    tokenizer = subject.simulator.tokenizer
    np.testing.assert_array_equal(videos["reconstruction"], tokenizer.decode(tokenizer.encode(videos["real"])))
    for row in ("model", "wrong_actions", "no_actions"):
        np.testing.assert_array_equal(videos[row][:, :3], videos["reconstruction"][:, :3])


def test_spoiled_films() -> None:
    """A shuffled video has the same frames, a blurred one the same mean and no edges; no wrong action is right."""
    rng = np.random.default_rng(0)
    videos = rng.integers(0, 256, (3, 6, 16, 16, 3), dtype=np.uint8)
    other = shuffled(videos, rng)
    assert not np.array_equal(other, videos)
    assert all(
        sorted(f.tobytes() for f in a) == sorted(f.tobytes() for f in b) for a, b in zip(videos, other, strict=True)
    )
    grey = np.full((1, 1, 32, 32, 3), 77, np.uint8)
    np.testing.assert_array_equal(blurred(grey), grey)
    smooth = blurred(videos)
    assert smooth.astype(float).std() < 0.6 * videos.astype(float).std()
    assert smooth.mean() == pytest.approx(videos.mean(), abs=2)
    actions = rng.integers(4, size=(200,))
    wrong = wrong_actions(actions, 4, rng)
    assert (wrong != actions).all()
    assert {(int(a), int(w)) for a, w in zip(actions, wrong, strict=True)} == {
        (a, w) for a in range(4) for w in range(4) if a != w
    }


def test_claims_go_red() -> None:
    """A classifier that tells real from real, or does not see time; distances in the wrong order."""

    def broken(same: float, order: float) -> list[bool]:
        clips = np.random.default_rng(0).normal(order, 0.2, (100, 2))
        rows = {"accuracy": {"same": {"mean": [same]}, "shuffled": {"per_clip": clips.tolist()}}}
        return [row["holds"] for row in _classifier_claims(rows, 100)]

    assert broken(0.55, 0.9) == [True, True]
    assert broken(0.7, 0.5) == [False, False]


def test_distance_claims_go_red() -> None:
    """Rows in the wrong order, and features that see nothing; within what the clips leave open nothing is claimed."""
    rng = np.random.default_rng(0)
    real = rng.normal(size=(2, 40, 6))
    rows = {"real": 0.0, "reconstruction": 0.2, "model": 0.6, "wrong_actions": 1.0, "blurred": 1.0, "shuffled": 1.0}

    def holds(noise: float = 0.0, **changes: float) -> list[bool]:
        features = {row: real + shift + noise * rng.normal(size=real.shape) for row, shift in (rows | changes).items()}
        halves = [{row: values[:, fold::2] for row, values in features.items()} for fold in (0, 1)]
        distances = {row: [0.0, 0.0] for row in rows}
        return [row["holds"] for row in _distance_claims(halves, distances)]

    assert holds() == [True, True, True]
    assert holds(wrong_actions=0.0) == [False, True, True]
    assert holds(reconstruction=1.0, model=0.2) == [False, True, True]
    assert holds(blurred=0.0, shuffled=0.0) == [True, False, False]
    assert holds(noise=2.0, model=0.2) == [True, True, True]
