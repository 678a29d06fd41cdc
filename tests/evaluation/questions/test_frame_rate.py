"""The speed of imagining: counted in frames of all videos, and explained by its parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worlds import record_toy, tiny_simulator
from worldmodel.benchmark import speed as clocks
from worldmodel.benchmark.roofline import Ceilings
from worldmodel.evaluation.harness.subject import Subject
from worldmodel.evaluation.questions import frame_rate
from worldmodel.rollouts import EpisodeDataset


def test_frames_of_all_videos_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """frames/s is batch x steps over the time of the parts, whose shares are a whole; the report reaches its end."""
    monkeypatch.setattr(Ceilings, "measure", lambda device: Ceilings(bfloat16=1e9, float32=1e9, memory=1e9))
    monkeypatch.setattr(clocks.Clock, "parts", lambda clock: {"context": 1.0, "waves": 2.0, "decode": 1.0})
    subject = Subject(
        simulator=tiny_simulator(), dataset=EpisodeDataset(record_toy(tmp_path / "d")), quick=True, num_clips=2
    )
    done: list[tuple[int, int]] = []
    found = frame_rate.measure(subject, lambda now, total: done.append((now, total)))
    rates, parts = found.tables["frames_per_second"], found.tables["parts"]
    assert rates["batch_1", "median"].value == frame_rate.QUICK_STEPS / 4
    assert rates["batch_4", "median"].value == 4 * frame_rate.QUICK_STEPS / 4
    shares = {part: share.value for part, share in parts.column("share").items()}
    assert shares == {"context": 0.25, "waves": 0.5, "decode": 0.25}
    assert parts["waves", "milliseconds"].value == pytest.approx(2000 / frame_rate.QUICK_STEPS)
    assert 0 < found.scalars["latency_ms/median"].number <= found.scalars["latency_ms/p95"].number
    assert done[-1][0] == done[-1][1]
