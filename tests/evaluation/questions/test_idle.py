"""Idling: known drifts give known numbers, and the real game stands beside where it can be replayed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worlds import record_toy, tiny_simulator
from worldmodel.evaluation.answers import from_json, to_json
from worldmodel.evaluation.harness.clips import Clips
from worldmodel.evaluation.harness.subject import Subject
from worldmodel.evaluation.metrics.scoring import clip_nats
from worldmodel.evaluation.questions import idle
from worldmodel.rollouts import EpisodeDataset


@pytest.fixture
def subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    monkeypatch.setattr(idle, "QUICK_FRAMES", 20)
    monkeypatch.setattr(idle, "BLOCK", 10)
    dataset = EpisodeDataset(record_toy(tmp_path / "d"))
    frames = np.stack([dataset.frames(0, start, start + 4) for start in (5, 60)])
    actions = np.stack([dataset.actions(0)[start : start + 3] for start in (5, 60)])
    early = Clips(frames, actions, ((0, 5), (0, 60)))
    monkeypatch.setattr(Subject, "clips", lambda self, horizon, number=None: early)
    simulator = tiny_simulator()
    return Subject(simulator=simulator, without_map=simulator, dataset=dataset, num_clips=4, context=3, quick=True)


def test_the_real_game_stands_still(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy shows one picture for ever; a model that shows the same has no drift, from its tenth frame or from it."""
    shown, _ = idle._really(subject, subject.clips(1), 0, 20)
    assert shown is not None
    monkeypatch.setattr(idle, "_stay", lambda *asked, **settings: torch.zeros(2, 20, 8, 8, dtype=torch.int64))
    parts = iter([shown[:, :10], shown[:, 10:]] * 2)
    monkeypatch.setattr(subject.simulator, "decode", lambda codes: next(parts))
    found = idle.measure(subject, lambda done, total: None)
    ceiling = 20 * np.log10(255)
    for name in ("psnr_to_tenth", "psnr_to_real_game"):
        assert found.series[name].steps == (10, 20)
        assert found.series[name].rows["model"].mean == pytest.approx([ceiling] * 2)
    assert list(found.series["psnr_to_tenth"].rows) == ["model", "without_map"]
    assert found.series["real_psnr_to_tenth"].rows["real"].mean == pytest.approx([ceiling] * 2)


def test_a_game_that_ends_is_shown_as_long_as_it_goes_on(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy ends 38 steps after the later clip: of 60 frames half are compared, of 1000 too."""
    for frames in (60, 1000):
        real, reason = idle._really(subject, subject.clips(1), 0, frames)
        assert reason == ""
        assert real is not None
        assert 20 <= real.shape[1] <= 38
    late = subject.clips(1)
    monkeypatch.setattr(idle, "BLOCK", 40)
    real, reason = idle._really(subject, late, 0, 40)
    assert real is None
    assert "ends after" in reason


def test_what_is_imagined_is_what_is_scored(subject: Subject) -> None:
    """The codes are those that the simulator imagines under no action; the last block costs what such a clip costs."""
    clips, simulator = subject.clips(1), subject.simulator
    codes = idle._stay(simulator, clips, 0, 20, context=3, seed=4)
    asked = np.zeros((2, 20), np.int64)
    imagined = simulator.imagine(clips.frames[:, :3], clips.actions[:, :2], asked, seed=4)
    assert torch.equal(codes, imagined.codes)
    nats = clip_nats(simulator, codes[:, 7:], asked[:, :12], context=3)
    assert nats.shape == (2, 10)
    np.testing.assert_allclose(idle._last_block(simulator, codes, 0, 3), nats.mean(1))
    answer = idle.measure(subject, lambda done, total: None)
    assert answer.tables["nats"].columns == ("own", "real game")
    assert from_json(to_json(answer)).series.keys() == answer.series.keys()


def test_the_action_that_does_nothing() -> None:
    """It is found by its name, whatever its case; where there is none, nothing is guessed."""
    assert idle.noop_of(("left", "NOOP")) == 1
    assert idle.noop_of(("left", "right")) is None
