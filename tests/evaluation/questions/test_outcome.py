"""The question outcome: its figures by hand, and on a world whose rewards are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training.test_outcome import LENGTH, write_games
from tests.worlds import record_toy, tiny_outcome_simulator, tiny_simulator
from worldmodel.evaluation.answers import from_json, to_json
from worldmodel.evaluation.harness.subject import Subject
from worldmodel.evaluation.questions.outcome import BINS, STEPS, auc, calibration, draw_places, end_figures, measure
from worldmodel.rollouts import EpisodeDataset


def test_auc_is_the_share_of_ordered_pairs() -> None:
    """Brute force over all pairs, ties counting half; nothing where a side is empty."""
    rng = np.random.default_rng(0)
    positive, negative = rng.integers(0, 8, 20) / 8, rng.integers(0, 6, 30) / 8
    pairs = positive[:, None] - negative[None]
    assert auc(positive, negative) == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2)
    assert auc(positive, negative[:0]) is None


def test_recall_counts_every_end_and_false_alarms_only_what_was_drawn() -> None:
    """Clips chosen for their end must not make false alarms look rarer than they are."""
    ends = np.array([[False, False], [False, True], [False, True]])
    probabilities = np.array([[0.6, 0.1], [0.6, 0.7], [0.1, 0.2]])
    figures = end_figures(ends, probabilities, np.array([True, False, False]), 0.5)
    assert figures["end_recall"] == 0.5
    assert figures["end_false_alarms"] == 0.5
    assert end_figures(ends[:1], probabilities[:1], np.array([True]), 0.5)["end_recall"] is None


def test_a_calibrated_head_is_on_the_diagonal() -> None:
    """Where ends come as often as predicted, each bin's observed share is its predicted one."""
    rng = np.random.default_rng(0)
    probabilities = rng.random((400, 50))
    found = calibration(rng.random((400, 50)) < probabilities, probabilities)
    assert len(found["predicted"]) == BINS
    np.testing.assert_allclose(found["observed"], found["predicted"], atol=0.04)


def test_clips_before_an_end_reach_it(tmp_path: Path) -> None:
    """The chosen clips end with the step that ended the game, also where that step has no frame."""
    dataset = write_games(tmp_path / "games", shown=False)
    places, drawn = draw_places(dataset, frames=4, number=5, seed=0)
    assert drawn.tolist() == 5 * [True] + 3 * [False]
    assert sorted(places[5:]) == [(i, LENGTH + 1 - 4) for i in range(3)]


def test_every_figure_is_there(tmp_path: Path) -> None:
    """On recordings, all figures exist for each step of the horizon; without heads the question is skipped."""
    dataset = EpisodeDataset(record_toy(tmp_path / "toy"))
    simulator = tiny_outcome_simulator()
    reported: list[tuple[int, int]] = []
    subject = Subject(dataset=dataset, simulator=simulator, num_clips=8, context=2)
    answer = measure(subject, lambda done, of: reported.append((done, of)))
    assert reported[-1] == (8, 8)
    assert answer.scalars["clips"].value == 8
    assert answer.scalars["operating threshold"].value == pytest.approx(1 / 11)
    assert answer.scalars["teacher_forced/reward_error"].number > 0
    assert "teacher_forced/end_recall" not in answer.scalars  # the toy game never ends by itself
    assert len(answer.series["by_horizon/reward_error"].rows["model"].mean) == STEPS
    assert from_json(to_json(answer)).series.keys() == answer.series.keys()
    old = measure(Subject(dataset=dataset, simulator=tiny_simulator(), num_clips=8, context=2), lambda done, of: None)
    assert old.skipped == {"": "the checkpoint has no reward and end heads"}


def test_a_step_is_asked_with_its_own_action(tmp_path: Path) -> None:
    """Given the real past, the answers at horizon 1 are those of the imagined game's first step."""
    dataset = EpisodeDataset(record_toy(tmp_path / "toy"))
    subject = Subject(dataset=dataset, simulator=tiny_outcome_simulator(), num_clips=8, context=2)
    answer = measure(subject, lambda done, of: None)
    from worldmodel.evaluation.questions import outcome

    places, _ = draw_places(dataset, frames=2 + STEPS, number=8, seed=0)
    recorded = outcome.OutcomeClips(dataset, clip=2 + STEPS, episodes=len(dataset)).read(places)
    real, own = outcome._ask(subject.simulator, dataset, places, recorded, 2, 0)
    np.testing.assert_allclose(real.expected[:, 0], own.expected[:, 0], rtol=1e-4, atol=1e-4)
    first = np.abs(own.expected - own.rewards)[:, 0].mean()
    assert answer.series["by_horizon/reward_error"].rows["model"].mean[0] == pytest.approx(first, rel=1e-4)
