"""Indistinguishability: its spoiled videos are spoiled as they say, and its claims go red when the checker is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.worlds import record_toy, tiny_simulator
from worldmodel.evaluation.answers import from_json, to_json
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
    reported: list[float] = []
    result = measure(subject, lambda done, total: reported.append(done / total))
    assert reported == sorted(reported)
    assert reported[-1] == 1
    assert from_json(to_json(result)).clips == result.clips
    assert {series.steps for series in result.series.values()} == {(1, 3)}
    assert list(result.series["classifier"].rows) == ["model", "shuffled", "same"]
    assert len(result.claims) == 5


def test_videos_are_the_context_and_the_future(subject: Subject) -> None:
    """Each video ends a context that went through the tokenizer where its future did; what is real is real."""
    clips = subject.clips(indistinguishability.HORIZON, number=4)
    videos = _videos(subject, clips, lambda done, total: None)
    assert {video.shape[1] for video in videos.values()} == {SEEN - 1 + 3}
    np.testing.assert_array_equal(videos["real"], clips.frames[:, [0, 0, 1, 2, 3, 4]])
    np.testing.assert_array_equal(videos["copy_last"], clips.frames[:, [0, 0, 1, 1, 1, 1]])
    tokenizer = subject.simulator.tokenizer
    np.testing.assert_array_equal(videos["reconstruction"], tokenizer.decode(tokenizer.encode(videos["real"])))
    for row in ("model", "wrong_actions", "no_actions"):
        np.testing.assert_array_equal(videos[row][:, :3], videos["reconstruction"][:, :3])


def test_spoiled_videos() -> None:
    """A shuffled video has the same frames, a blurred one the same mean and no edges."""
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


def test_claims_go_red() -> None:
    """A classifier that tells real from real, or does not see time; distances in the wrong order."""

    def holds(same: float, order: float) -> list[bool]:
        clips = np.random.default_rng(0).normal(order, 0.2, (100, 2))
        return [claim.holds for claim in _classifier_claims(np.full((100, 2), same), clips)]

    assert holds(0.55, 0.9) == [True, True]
    assert holds(0.6, 0.5) == [True, True]
    assert holds(0.75, 0.3) == [False, False]


def test_distance_claims_go_red() -> None:
    """Rows in the wrong order; within what the clips leave open nothing is claimed."""
    rng = np.random.default_rng(0)
    real = rng.normal(size=(2, 40, 6))
    rows = {"real": 0.0, "reconstruction": 0.2, "model": 0.6, "wrong_actions": 1.0, "blurred": 1.0, "shuffled": 1.0}

    def holds(noise: float = 0.0, **changes: float) -> list[bool]:
        features = {row: real + shift + noise * rng.normal(size=real.shape) for row, shift in (rows | changes).items()}
        halves = [{row: values[:, fold::2] for row, values in features.items()} for fold in (0, 1)]
        distances = {row: [0.0, 0.0] for row in rows}
        return [claim.holds for claim in _distance_claims(halves, distances)]

    assert holds() == [True, True, True]
    assert holds(wrong_actions=0.0) == [False, True, True]
    assert holds(reconstruction=1.0, model=0.2) == [False, True, True]
    assert holds(blurred=0.0, shuffled=0.0) == [True, True, True]
    assert holds(noise=2.0, model=0.2) == [True, True, True]
