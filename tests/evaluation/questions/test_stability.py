"""Stability: divergences by hand, recorded actions, and traces against a plain computation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worlds import record_toy, tiny_simulator
from worldmodel.evaluation.answers import from_json, to_json
from worldmodel.evaluation.harness.subject import Subject
from worldmodel.evaluation.metrics.images import change, gradient_energy
from worldmodel.evaluation.metrics.scoring import clip_nats
from worldmodel.evaluation.questions import stability
from worldmodel.evaluation.questions.stability import (
    Course,
    Trace,
    by_horizon,
    code_distances,
    jensen_shannon,
    real_distance,
    recorded_actions,
    trace_imagined,
    trace_real,
)
from worldmodel.rollouts import EpisodeDataset


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    dataset = EpisodeDataset(record_toy(tmp_path / "d"))
    return Subject(simulator=tiny_simulator(), dataset=dataset, num_clips=8, context=3, quick=True)


def test_jensen_shannon_by_hand() -> None:
    """Equal histograms are 0 bits apart, disjoint ones 1 bit, whatever they are counted in."""
    assert jensen_shannon(np.array([1, 3, 0]), np.array([10, 30, 0])) == pytest.approx(0)
    assert jensen_shannon(np.array([4, 0, 0]), np.array([0, 1, 1])) == pytest.approx(1)
    # (1, 0) and (1/2, 1/2): the middle is (3/4, 1/4).
    expected = 0.5 * np.log2(4 / 3) + 0.5 * (0.5 * np.log2(2 / 3) + 0.5 * np.log2(2))
    assert jensen_shannon(np.array([2, 0]), np.array([1, 1])) == pytest.approx(expected)


def test_codes_like_the_real_ones_are_as_near_as_real_ones() -> None:
    """Draws of one distribution are as far from real groups as these from each other; draws of another are farther."""
    rng = np.random.default_rng(0)
    real = rng.multinomial(500, np.full(20, 0.05), size=16)
    alike, other = rng.multinomial(500, np.full(20, 0.05), size=4), rng.multinomial(500, np.arange(20) / 190, size=4)
    near, far = code_distances(np.stack([alike, other], axis=1), real, rng)
    apart = real_distance(real, 4, rng)
    assert near == pytest.approx(apart, rel=0.5)
    assert far > 5 * apart


def test_recorded_actions_are_stretches_of_episodes() -> None:
    """They go on as recorded to an episode's end, begin at any step, and long episodes are taken more often."""

    class Recorded:
        def __len__(self) -> int:
            return 2

        def actions(self, index: int) -> np.ndarray:
            return np.arange(10) if index == 0 else np.arange(100, 140)

    rows = recorded_actions(Recorded(), np.random.default_rng(0), videos=30, frames=50)  # type: ignore[arg-type]
    assert rows.shape == (30, 50)
    ends = np.isin(rows[:, :-1], (9, 139))
    assert (np.diff(rows)[~ends] == 1).all()
    assert len(set(rows[:, 0])) > 10
    assert 0.6 < (rows[:, 0] >= 100).mean() < 0.95


def test_what_is_traced_of_imagined_videos(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nats, counts, change and sharpness are those of the frames that imagine gives, seams between blocks included."""
    monkeypatch.setattr(stability, "BLOCK", 4)
    clips = subject.clips(1, number=2)
    future = np.random.default_rng(0).integers(0, 4, (2, 12))
    trace = trace_imagined(
        subject.simulator, clips, future, context=3, scored_every=2, seed=7, report=lambda done: None
    )
    imagined = subject.simulator.imagine(clips.frames[:, :3], clips.actions[:, :2], future, seed=7)
    codes = subject.simulator.tokenizer.encode(clips.frames[:, :3])
    everything = torch.cat([codes, imagined.codes], dim=1)
    actions = np.concatenate([clips.actions[:, :2], future], axis=1)
    middle = clip_nats(subject.simulator, everything[:, :7], actions[:, :6], context=3).mean(1)
    last = clip_nats(subject.simulator, everything[:, 8:], actions[:, 8:], context=3).mean(1)
    np.testing.assert_allclose(trace.nats, np.stack([middle, last], axis=1), rtol=1e-4)
    frames = np.concatenate([subject.simulator.decode(codes[:, -1:]), imagined.frames], axis=1)
    np.testing.assert_allclose(trace.change, change(frames))
    np.testing.assert_allclose(trace.sharpness, gradient_energy(frames[:, 1:]))
    assert trace.counts.shape == (2, 3, 16)
    expected = np.bincount(imagined.codes[1, 4:8].flatten().numpy(), minlength=16)
    np.testing.assert_array_equal(trace.counts[1, 1], expected)


def test_what_is_traced_of_real_clips(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The looks are those of the reconstructions after the context; the nats are teacher-forced."""
    monkeypatch.setattr(stability, "BLOCK", 5)
    trace = trace_real(subject, subject.simulator, number=4, scored=2)
    clips = subject.clips(5, number=4)
    codes = subject.simulator.tokenizer.encode(clips.frames)
    rebuilt = subject.simulator.decode(codes)
    np.testing.assert_allclose(trace.change, change(rebuilt)[:, 2:])
    np.testing.assert_allclose(trace.sharpness, gradient_energy(rebuilt[:, 3:]))
    nats = clip_nats(subject.simulator, codes[:2], clips.actions[:2], context=3).mean(1)
    np.testing.assert_allclose(trace.nats[:, 0], nats, rtol=1e-4)
    assert trace.counts.shape == (4, 1, 16)


def test_a_real_looking_video_and_one_that_freezes() -> None:
    """Frames like the real ones are within their range nine times in ten; a frozen video's change is below it."""
    rng = np.random.default_rng(0)

    def trace(blocks: int, change: np.ndarray) -> Trace:
        counts = np.ones((len(change), blocks, 4), np.int64)
        return Trace(np.full((len(change), blocks), 2.0), counts, change, rng.uniform(1, 2, change.shape))

    real = trace(1, rng.uniform(5, 10, (8, 30)))
    frozen = rng.uniform(5, 10, (4, 60))
    frozen[:, 30:] = 0
    found = by_horizon({"model": trace(2, frozen)}, {"model": real}, rng)
    inside = found.series["60/change_within_real_range"]
    assert inside.steps == (30, 60)
    first, second = inside.rows["model"].mean
    assert first == pytest.approx(0.9, abs=0.1)
    assert second == 0
    assert found.series["60/own_nats_over_real"].rows["model"].mean == (1.0, 1.0)
    assert found.series["60/code_distance"].rows["model"].mean == (0.0, 0.0)
    assert found.clips["60/own_nats/model"] == [[2.0, 2.0]] * 4
    by_clip = np.array(found.clips["60/change_within_real_range/model"])
    np.testing.assert_allclose(by_clip.mean(0), inside.rows["model"].mean, atol=1e-4)


def test_the_whole_answer(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every length is answered by block, without the map only the first; progress goes on to its end."""
    monkeypatch.setattr(stability, "BLOCK", 5)
    monkeypatch.setattr(stability, "QUICK", (Course(2, 10, 1), Course(1, 15, 2)))
    done: list[tuple[int, int]] = []
    both = replace(subject, without_map=subject.simulator)
    numbers = stability.measure(both, lambda now, total: done.append((now, total)))
    lengths = {name: len(numbers.series[f"{name}/own_nats"].rows["model"].mean) for name in ("10", "15")}
    assert lengths == {"10": 2, "15": 2}
    assert numbers.series["15/own_nats"].steps == (5, 15)
    assert [list(numbers.series[f"{name}/own_nats"].rows) for name in ("10", "15")] == [
        ["model", "without_map"],
        ["model"],
    ]
    assert done[-1][0] == done[-1][1]
    assert [now for now, _ in done] == sorted(now for now, _ in done)
    assert from_json(to_json(numbers)).clips.keys() == numbers.clips.keys()


@pytest.mark.parametrize("has_map", [False, True])
def test_own_samples_are_scored_as_real_frames_are(
    subject: Subject, has_map: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An imagined video costs as own samples what it costs when it is given as a recorded clip, map or no map."""
    monkeypatch.setattr(stability, "BLOCK", 4)
    simulator = tiny_simulator(has_map=has_map)
    clips = subject.clips(4, number=1)
    future = clips.actions[:, 2:]
    own = trace_imagined(simulator, clips, future, context=3, scored_every=1, seed=0, report=lambda done: None)
    imagined = simulator.imagine(clips.frames[:, :3], clips.actions[:, :2], future, seed=0).codes
    codes = torch.cat([simulator.tokenizer.encode(clips.frames[:, :3]), imagined], dim=1)
    monkeypatch.setattr(simulator.tokenizer, "encode", lambda frames: codes)
    real = trace_real(subject, simulator, number=1, scored=1)
    np.testing.assert_allclose(own.nats, real.nats, rtol=1e-3)
