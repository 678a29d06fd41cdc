"""The full circle: the toy world's ring closes exactly, so its views have to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.worlds import record_toy, tiny_simulator
from worldmodel.evaluation.harness.subject import Subject
from worldmodel.evaluation.questions.full_circle import circle_steps, compare, full_circle
from worldmodel.rollouts import EpisodeDataset


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    dataset = EpisodeDataset(record_toy(tmp_path / "d"))
    return Subject(simulator=tiny_simulator(), dataset=dataset, num_clips=8, context=3)


def test_the_real_game_closes_the_circle(subject: Subject) -> None:
    """The toy's player is back after 16 steps and sees the same, bit for bit, and something else half way."""
    assert circle_steps(subject.dataset) == (16, pytest.approx(360))
    found = full_circle(subject, number=4)
    assert (found["steps_held"], found["clips"]) == (16, 4)
    real = found["psnr"]["real_game"]
    assert real["full_circle"]["low"] == pytest.approx(20 * np.log10(255))
    assert real["half_circle"]["high"] < 30
    assert real["other_place"]["high"] < 30
    assert set(found["psnr"]["imagined"]) == set(real)


def test_the_views_that_are_compared() -> None:
    """Before is the view after standing still, half way is half of the turn, after is the last."""
    views = np.zeros((2, 1 + 2 + 4, 4, 4, 3), np.uint8)
    views[:, 2], views[:, 4], views[:, 6] = 10, 30, 11
    views[1] += 100
    found = compare(views, settle=2, rng=np.random.default_rng(0))
    expected = {"full_circle": 1, "half_circle": 20, "other_place": 100}
    for name, difference in expected.items():
        assert found[name]["mean"] == pytest.approx(20 * np.log10(255 / difference))


def test_slow_first_steps_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn that begins with 40 degrees and goes on with 60 needs six steps to come nearest to 360."""

    class Recorded:
        class info:  # noqa: N801
            action_names = ("noop", "right")

        def __len__(self) -> int:
            return 3

        def actions(self, index: int) -> np.ndarray:
            return np.array([0, 1, 1, 1])

        def variables(self, index: int) -> dict[str, np.ndarray]:
            return {"angle": np.array([10, 10, -30, -90, -150]) % 360.0}

    assert circle_steps(Recorded()) == (6, 340)  # type: ignore[arg-type]
    monkeypatch.setattr(circle, "LEAST", 4)
    assert circle_steps(Recorded()) == (0, 0.0)  # type: ignore[arg-type]


def test_recordings_without_angles_are_skipped_and_said_so(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is known of angles, no circle is claimed."""
    monkeypatch.setattr(circle, "ANGLE", "heading")
    assert "heading" in full_circle(subject, number=2)["skipped"]
