"""Small objects: a tokenizer that keeps them finds all, one that loses them none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.worlds import record_toy, tiny_simulator
from worldmodel.evaluation.harness.clips import Clips
from worldmodel.evaluation.harness.subject import Subject
from worldmodel.evaluation.questions import objects
from worldmodel.rollouts import EpisodeDataset


@pytest.fixture
def subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """Clips of a white ball of 2x2 pixels that flies over a grey field."""
    frames = np.full((4, 13, 32, 32, 3), 80, np.uint8)
    for clip in range(4):
        for t in range(13):
            frames[clip, t, 2 * t : 2 * t + 2, 6 * clip + 2 : 6 * clip + 4] = 250
    clips = Clips(frames, np.zeros((4, 12), np.int64))
    monkeypatch.setattr(Subject, "clips", lambda self, horizon, number=None: clips)
    dataset = EpisodeDataset(record_toy(tmp_path / "d", episodes=1))
    return Subject(simulator=tiny_simulator(), dataset=dataset, context=3)


@pytest.mark.parametrize(
    ("decode", "share"), [(lambda frames: frames, 1.0), (lambda frames: np.full_like(frames, 80), 0.0)]
)
def test_share_of_those_that_are_known(
    subject: Subject, decode: Callable[[np.ndarray], np.ndarray], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tokenizer that changes nothing finds every ball; one that paints the field alone finds none."""
    monkeypatch.setattr(subject.simulator.tokenizer, "encode", lambda frames: frames)
    monkeypatch.setattr(subject.simulator.tokenizer, "decode", decode)
    found = objects.measure(subject, lambda done, total: None)
    assert found.scalars["found"].value == share
    assert found.scalars["objects"].value == 4 * 12
    assert [claim.holds for claim in found.claims] == [True]


def test_a_game_without_small_things_is_skipped(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too few say nothing, and that is said."""
    monkeypatch.setattr(objects, "MIN_OBJECTS", 49)
    assert "48 small objects" in objects.measure(subject, lambda done, total: None).skipped[""]
