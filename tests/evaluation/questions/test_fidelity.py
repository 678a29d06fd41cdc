"""Fidelity: known frames give known numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.worlds import record_toy, tiny_simulator
from worldmodel.evaluation.answers import Answer
from worldmodel.evaluation.harness.clips import psnr
from worldmodel.evaluation.harness.subject import Conditional, Subject, Unconditional
from worldmodel.evaluation.metrics import probe
from worldmodel.evaluation.metrics.cross_validation import train_probes
from worldmodel.evaluation.metrics.images import ssim
from worldmodel.evaluation.questions import fidelity
from worldmodel.evaluation.questions.fidelity import FEATURES, Course, best_samples
from worldmodel.rollouts import EpisodeDataset


@pytest.fixture
def subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """The toy world, a model with random weights, and a probe that is trained as briefly as can be."""
    monkeypatch.setattr(probe, "STEPS", 2)
    dataset = EpisodeDataset(record_toy(tmp_path / "d"))
    return Subject(simulator=tiny_simulator(), dataset=dataset, num_clips=12, context=3)


ROWS = ("reconstruction", "model", "no_actions", "copy_last", "wrong_actions")


def test_rows_are_what_they_say(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row is recomputed here by other means, over all and over moving clips; the same seed gives the same."""
    monkeypatch.setattr(fidelity, "COURSES", (Course(4, 128, 16),))
    done: list[tuple[int, int]] = []
    numbers = fidelity.measure(subject, lambda now, total: done.append((now, total)))
    assert done[-1][0] == done[-1][1] == max(now for now, _ in done)
    found = {name.removeprefix("4/"): series.rows for name, series in numbers.series.items()}
    clips = subject.clips(4)
    real, future = clips.frames[:, 3:], clips.actions[:, 2:]
    rows = {
        "copy_last": clips.frames[:, [2] * 4],
        "reconstruction": subject.simulator.decode(subject.simulator.tokenizer.encode(real)),
        "model": np.concatenate(
            [
                subject.simulator.imagine(
                    clips.frames[part, :3], clips.actions[part, :2], future[part], seed=part.start
                ).frames
                for part in (slice(0, 8), slice(8, 12))
            ]
        ),
    }
    for row, frames in rows.items():
        quality = psnr(frames, real)
        assert found["psnr"][row].mean == pytest.approx(quality.mean(0))
        assert found["psnr_moving"][row].mean == pytest.approx(quality[clips.moving].mean(0))
        assert found["ssim"][row].mean == pytest.approx(ssim(frames, real).mean(0))
        assert numbers.clips[f"4/psnr/{row}"] == np.round(quality, 4).tolist()
    assert tuple(found["psnr"]) == ROWS
    check_features(subject, numbers, real, copied=rows["copy_last"])
    difference = psnr(rows["model"], real) - psnr(rows["copy_last"], real)
    assert found["psnr_differences"]["model above copy-last"].mean == pytest.approx(difference.mean(0))
    assert fidelity.measure(subject, lambda now, total: None) == numbers


def check_features(subject: Subject, found: Answer, real: np.ndarray, *, copied: np.ndarray) -> None:
    """The distance of the probe's features is one less their cosine, clip by clip and step by step."""
    clips = subject.clips(4)
    probes = train_probes(subject.dataset, seed=0)
    past, folds = clips.frames[:, 1:3], probes.folds(clips)
    ours, theirs = (probes.features(np.concatenate([past, future], axis=1), folds) for future in (copied, real))
    cosine = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
    distances = np.array(found.clips[f"4/{FEATURES}/copy_last"])
    np.testing.assert_allclose(distances, 1 - cosine, atol=1e-4)
    assert found.series[f"4/{FEATURES}"].rows["copy_last"].mean == pytest.approx((1 - cosine).mean(0), abs=1e-5)
    assert tuple(found.series[f"4/{FEATURES}"].rows) == ROWS


def test_the_wrong_order_goes_red() -> None:
    """A model that is clearly nearer than the reconstruction shows that the checker is wrong; noise does not."""
    rng = np.random.default_rng(0)
    near = rng.normal(0, 0.1, (20, 3))

    def holds(**shifts: float) -> list[bool]:
        psnrs = {row: 20 + near + shifts.get(row, 0) for row in ROWS}
        features = {row: 1 - near - shifts.get(row, 0) for row in ROWS}
        return [claim.holds for claim in fidelity._claims({"psnr": psnrs, FEATURES: features})]

    assert holds() == [True] * 4
    assert holds(reconstruction=1.0, wrong_actions=-1.0, no_actions=-1.0) == [True] * 4
    assert holds(model=1.0) == [False, True, True, False]
    assert holds(wrong_actions=1.0) == [True, False, True, False]
    assert holds(no_actions=1.0) == [True, True, False, True]


def test_without_its_map_a_model_has_a_row_of_its_own(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both simulators of one checkpoint imagine the same clips with the same noise, each in its row."""
    monkeypatch.setattr(fidelity, "COURSES", (Course(2, 128, 0),))
    other = tiny_simulator(temperature=0.5)
    both = replace(subject, without_map=other, num_clips=4)
    found = fidelity.measure(both, lambda now, total: None)
    assert list(found.series["2/psnr"].rows) == ["reconstruction", "model", "without_map", *ROWS[2:]]
    clips = both.clips(2)
    frames = other.imagine(clips.frames[:, :3], clips.actions[:, :2], clips.actions[:, 2:], seed=0).frames
    quality = psnr(frames, clips.frames[:, 3:]).mean(0)
    assert found.series["2/psnr"].rows["without_map"].mean == pytest.approx(quality)
    assert "without map above copy-last" in found.series["2/psnr_differences"].rows


def test_without_a_second_episode_there_are_no_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No probe can be trained there; everything else is measured all the same."""
    monkeypatch.setattr(fidelity, "COURSES", (Course(2, 128, 0),))
    dataset = EpisodeDataset(record_toy(tmp_path / "d", episodes=1))
    subject = Subject(simulator=tiny_simulator(), dataset=dataset, num_clips=2, context=2)
    found = fidelity.measure(subject, lambda now, total: None).series
    assert "2/psnr" in found
    assert f"2/{FEATURES}" not in found


def test_wrong_actions_are_all_wrong(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check under wrong actions never gives the model a right one, and its context stays as recorded."""
    asked: list[tuple[np.ndarray, np.ndarray]] = []

    def imagine(self: Conditional, clips: object, future: np.ndarray, *, context: int, seed: int) -> np.ndarray:
        if not isinstance(self, Unconditional):
            asked.append((clips.actions, future))  # type: ignore[attr-defined]
        return np.zeros((*future.shape, 32, 32, 3), np.uint8)

    monkeypatch.setattr(Conditional, "__call__", imagine)
    monkeypatch.setattr(fidelity, "COURSES", (Course(5, 128, 16),))
    fidelity.measure(subject, lambda now, total: None)
    recorded = [(future == actions[:, 2:]).mean() for actions, future in asked]
    assert recorded == [1, 0, 1, 0] + [1] * 7  # seven more samples of the same clips
    assert all((actions >= 0).all() and (future < 4).all() for actions, future in asked)


def test_samples_differ_and_the_first_is_the_models(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sample of a clip is another future of that clip; their number and the clips' are as asked."""
    monkeypatch.setattr(fidelity, "COURSES", (Course(3, 128, 32),))
    seen: list[np.ndarray] = []
    best = fidelity.best_samples
    monkeypatch.setattr(fidelity, "best_samples", lambda values: seen.append(values) or best(values))
    found = fidelity.measure(subject, lambda now, total: None)
    values = seen[0]
    assert values.shape == (fidelity.SAMPLES, 3, 3)
    np.testing.assert_allclose(values[0], np.array(found.clips["3/psnr/model"])[:3], atol=1e-4)
    assert all(len(np.unique(values[:, clip], axis=0)) == fidelity.SAMPLES for clip in range(3)), values
    spread = values.mean(2).max(0) - values.mean(2).min(0)
    between = np.abs(np.subtract.outer(values.mean((0, 2)), values.mean((0, 2)))).max()
    assert spread.max() < between  # a clip's samples stay with their clip
    assert found.series["3/best_of_8/psnr"].rows["best sample"].average >= values.mean()


def test_a_horizon_that_no_episode_has_is_skipped_and_said_so(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The toy's episodes have 101 frames: after 3 of context, 98 steps fit and 99 do not."""
    monkeypatch.setattr(
        Conditional, "__call__", lambda self, clips, future, **asked: np.zeros((*future.shape, 32, 32, 3), np.uint8)
    )
    monkeypatch.setattr(fidelity, "COURSES", (Course(98, 128, 16), Course(99, 24, 4)))
    numbers = fidelity.measure(replace(subject, num_clips=2), lambda now, total: None)
    assert len(numbers.series["98/psnr"].rows["model"].mean) == 98
    assert "no episode" in numbers.skipped["99 steps"]


def test_the_best_sample_is_one_sample() -> None:
    """It is chosen over the whole horizon: the best of each step alone would be nobody's future."""
    values = np.array([[[1.0, 9.0]], [[8.0, 3.0]], [[2.0, 2.0]]])  # three samples of one clip, two steps
    np.testing.assert_array_equal(best_samples(values), [[8.0, 3.0]])
