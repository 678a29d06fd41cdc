"""Changed pixels and codes: the real future is perfect, copy-last is the unit, and a still game is skipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worlds import record_toy, tiny_simulator
from worldmodel.evaluation.harness.clips import Clips
from worldmodel.evaluation.harness.subject import Conditional, Subject
from worldmodel.evaluation.questions import changes
from worldmodel.rollouts import EpisodeDataset


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    dataset = EpisodeDataset(record_toy(tmp_path / "d"))
    simulator = tiny_simulator()
    simulator.tokenizer.encode = brightness  # type: ignore[method-assign]
    return Subject(simulator=simulator, dataset=dataset, num_clips=4, context=3)


def brightness(frames: np.ndarray) -> torch.Tensor:
    """Codes that change where the picture does: how bright each cell is, in sixteenths."""
    b, t = frames.shape[:2]
    cells = frames.reshape(b, t, 8, 4, 8, 4, 3).mean((3, 5, 6))
    return torch.from_numpy((cells / 16).astype(np.int64))


def test_copy_last_is_the_unit(subject: Subject) -> None:
    """Its error is one and none of its changed codes is right; every row has a number for every step."""
    both = replace(subject, without_map=subject.simulator)
    found = changes.measure(both, lambda done, total: None)
    ratios, kept = found.series["error_ratio"], found.series["codes_kept"]
    assert list(ratios.rows) == ["reconstruction", "model", "without_map", "no_actions", "copy_last"]
    assert ratios.rows["copy_last"].mean == pytest.approx([1.0] * 10)
    assert ratios.rows["without_map"].mean == ratios.rows["model"].mean
    assert kept.rows["copy_last"].mean == (0,) * 10
    assert all(claim.holds for claim in found.claims)


def test_who_knows_the_future_keeps_every_code(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The codes of the real future are all right, and the error left is the reconstruction's."""

    def perfect(self: Conditional, clips: Clips, future: np.ndarray, *, context: int, seed: int) -> object:
        return self.simulator.tokenizer.encode(clips.frames[:, context:])

    monkeypatch.setattr(Conditional, "codes", perfect)
    found = changes.measure(subject, lambda done, total: None)
    assert found.series["codes_kept"].rows["model"].mean == (1.0,) * 10
    ratios = found.series["error_ratio"].rows
    assert ratios["model"].mean == pytest.approx(ratios["reconstruction"].mean, rel=1e-3)


def test_codes_that_never_change_are_skipped(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer that has one code for everything has no share of changed codes, and that is said."""
    blind = torch.zeros(1, dtype=torch.int64)
    monkeypatch.setattr(subject.simulator.tokenizer, "encode", lambda frames: blind.expand(*frames.shape[:2], 8, 8))
    found = changes.measure(subject, lambda done, total: None)
    assert "codes_kept" not in found.series
    assert "code" in found.skipped["codes_kept"]
    assert all(claim.holds for claim in found.claims)


def test_a_still_game_is_skipped_and_said_so(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing changes, nothing is divided."""
    clips = subject.clips(changes.HORIZON)
    still = Clips(np.repeat(clips.frames[:, :1], clips.frames.shape[1], axis=1), clips.actions, clips.places)
    monkeypatch.setattr(Subject, "clips", lambda self, horizon, number=None: still)
    assert "a pixel" in changes.measure(subject, lambda done, total: None).skipped[""]
