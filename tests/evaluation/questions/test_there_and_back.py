"""There and back: the real game returns exactly in the toy; a game without opposites is skipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.worlds import record_toy, tiny_simulator
from worldmodel.evaluation.harness.oracle import Oracle
from worldmodel.evaluation.harness.subject import Conditional, Subject
from worldmodel.evaluation.questions import there_and_back
from worldmodel.evaluation.questions.there_and_back import compare, measure
from worldmodel.rollouts import EpisodeDataset


@pytest.fixture
def subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    monkeypatch.setattr(there_and_back, "STEPS", 3)
    dataset = EpisodeDataset(record_toy(tmp_path / "d"))
    return Subject(simulator=tiny_simulator(), dataset=dataset, num_clips=4, context=3, quick=True)


def test_the_real_game_comes_back(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy's ring turned left and right again is bit for bit where it was; who is the game, has its numbers."""
    oracle = Oracle(subject.dataset)
    monkeypatch.setattr(
        Conditional, "__call__", lambda self, clips, future, *, context, seed: oracle(clips, future, context=context)
    )
    table = measure(subject, lambda done, total: None).tables["return"]
    oracle.close()
    for row in ("model", "real_game"):
        assert table[row, "worst"].value == table[row, "median"].value == pytest.approx(20 * np.log10(255))
        assert table[row, "away"].number < 30


def test_the_views_that_are_compared() -> None:
    """The last frames with one another, and those at the farthest point."""
    there, still = (np.full((2, 6, 8, 8, 3), 100, np.uint8) for _ in range(2))
    there[:, 2], there[:, 5] = 130, 101
    back, away = compare(there, still)
    assert back == pytest.approx([20 * np.log10(255)] * 2)
    assert away == pytest.approx([20 * np.log10(255 / 30)] * 2)


def test_a_game_without_opposites_is_skipped(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said which of the two is missing."""
    monkeypatch.setattr(there_and_back, "opposites", lambda names: [])
    assert measure(subject, lambda done, total: None).skipped == {"": "no two actions are opposites by their names"}
