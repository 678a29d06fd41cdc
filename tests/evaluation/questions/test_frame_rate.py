"""The speed of imagining: counted in frames of all videos, and explained by its parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worlds import record_toy, tiny_simulator
from worldmodel import speed as clocks
from worldmodel.evaluation.harness.subject import Subject
from worldmodel.rollouts import EpisodeDataset
from worldmodel.roofline import Ceilings


def test_frames_of_all_videos_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """frames/s is batch x steps over the time of the parts, whose shares are a whole; the report reaches its end."""
    monkeypatch.setattr(Ceilings, "measure", lambda device: Ceilings(bfloat16=1e9, float32=1e9, memory=1e9))
    monkeypatch.setattr(clocks.Clock, "parts", lambda clock: {"context": 1.0, "waves": 2.0, "decode": 1.0})
    subject = Subject(
        simulator=tiny_simulator(), dataset=EpisodeDataset(record_toy(tmp_path / "d")), quick=True, num_clips=2
    )
    done: list[tuple[int, int]] = []
    found = speed.measure(subject, lambda now, total: done.append((now, total)))
    assert found["frames_per_second"]["batch_1"]["median"] == speed.QUICK_STEPS / 4
    assert found["frames_per_second"]["batch_4"]["median"] == 4 * speed.QUICK_STEPS / 4
    assert {part: values["share"] for part, values in found["parts"].items()} == {
        "context": 0.25,
        "waves": 0.5,
        "decode": 0.25,
    }
    assert found["parts"]["waves"]["milliseconds"] == pytest.approx(2000 / speed.QUICK_STEPS)
    assert 0 < found["latency_ms"]["median"] <= found["latency_ms"]["p95"]
    assert done[-1][0] == done[-1][1]
