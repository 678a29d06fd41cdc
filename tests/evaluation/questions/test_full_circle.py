"""The full circle: the toy world's ring closes exactly, so its views have to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.worlds import record_toy, tiny_simulator
from worldmodel.evaluation.harness.subject import Subject
from worldmodel.evaluation.questions import full_circle
from worldmodel.evaluation.questions.full_circle import circle_steps, compare, measure
from worldmodel.rollouts import EpisodeDataset


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    dataset = EpisodeDataset(record_toy(tmp_path / "d"))
    simulator = tiny_simulator()
    return Subject(simulator=simulator, without_map=simulator, dataset=dataset, num_clips=8, context=3, quick=True)


def test_the_real_game_closes_the_circle(subject: Subject) -> None:
    """The toy's player is back after 16 steps and sees the same, bit for bit, and something else half way."""
    assert circle_steps(subject.dataset) == (16, pytest.approx(360))
    found = measure(subject, lambda done, total: None)
    assert (found.scalars["steps held"].value, found.scalars["clips"].value) == (16, 4)
    table = found.tables["psnr"]
    assert table["real_game", "full circle"].low == pytest.approx(20 * np.log10(255))
    for other in ("half circle", "other place"):
        assert (table["real_game", other].high or 99) < 30
    assert set(table.rows) == {"model", "without_map", "real_game"}
    assert [claim.holds for claim in found.claims] == [True]


def test_the_views_that_are_compared() -> None:
    """Before is the view after standing still, half way is half of the turn, after is the last."""
    views = np.zeros((2, 1 + 2 + 4, 4, 4, 3), np.uint8)
    views[:, 2], views[:, 4], views[:, 6] = 10, 30, 11
    views[1] += 100
    found = compare(views, settle=2)
    expected = {"full circle": 1, "half circle": 20, "other place": 100}
    for name, difference in expected.items():
        assert found[name].mean() == pytest.approx(20 * np.log10(255 / difference))


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
    monkeypatch.setattr(full_circle, "LEAST", 4)
    assert circle_steps(Recorded()) == (0, 0.0)  # type: ignore[arg-type]


def test_recordings_without_angles_are_skipped_and_said_so(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is known of angles, no circle is claimed."""
    monkeypatch.setattr(full_circle, "ANGLE", "heading")
    assert "heading" in measure(subject, lambda done, total: None).skipped[""]
