"""Control, measured where the answer is known; and the claims that have to go red when the checker is wrong."""

from __future__ import annotations

import copy
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.worlds import record_toy, tiny_simulator
from worldmodel.evaluation.harness import oracle
from worldmodel.evaluation.harness.oracle import Oracle
from worldmodel.evaluation.harness.subject import Subject, copy_last
from worldmodel.evaluation.metrics import probe
from worldmodel.evaluation.metrics.cross_validation import CrossValidatedProbes
from worldmodel.evaluation.metrics.inverse_dynamics import f1_interval, read_actions
from worldmodel.evaluation.metrics.probe import confusions
from worldmodel.evaluation.questions import control
from worldmodel.evaluation.questions.control import claims, delta_psnr, measure
from worldmodel.rollouts import EpisodeDataset


@pytest.fixture
def subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """The toy world and a model with random weights, asked as briefly as can be."""
    monkeypatch.setattr(probe, "STEPS", 10)
    monkeypatch.setattr(control, "QUICK_STARTS", 2)
    dataset = EpisodeDataset(record_toy(tmp_path / "data", episodes=2))
    return Subject(simulator=tiny_simulator(), dataset=dataset, num_clips=6, context=3, quick=True)


def test_delta_psnr_of_those_who_are_known(subject: Subject) -> None:
    """The engine loses much under random actions, all it shows is real; a frame held still loses exactly nothing."""
    clips = subject.clips(4)
    with closing(Oracle(subject.dataset)) as engine:
        future, delta = delta_psnr(engine, clips, subject)
    np.testing.assert_array_equal(future, clips.frames[:, 3:])
    assert delta.shape == (6, 4)
    assert delta.min() >= 0
    assert delta[:, -1].mean() > 10
    held, delta = delta_psnr(copy_last, clips, subject)
    np.testing.assert_array_equal(held[:, 2], clips.frames[:, 2])
    np.testing.assert_array_equal(delta, 0)


def test_whole_answer_and_its_claims(subject: Subject) -> None:
    """The answer is JSON, the checks of the checker hold in it, and each goes red when its figures are wrong."""
    told: list[float] = []
    result = measure(subject, lambda done, total: told.append(done / total))
    assert told == sorted(told)
    assert told[-1] == 1
    json.dumps(result, allow_nan=False)
    rows = result["counterfactual"]["rows"]
    assert list(rows) == ["oracle", "reconstruction", "model", "no_actions", "copy_last", "wrong_actions"]
    assert rows["oracle"]["top1"]["mean"] == 1
    assert rows["copy_last"]["top1"]["mean"] == pytest.approx(result["counterfactual"]["chance"])
    assert result["delta_psnr"]["copy_last"]["mean"] == result["delta_psnr"]["no_actions"]["mean"] == [0] * 4
    assert result["grid"]["png"]
    for where, value, says in (
        (("delta_psnr", "copy_last", "high"), [0.0, 0, 0, 1], "last frame held still"),
        (("delta_psnr", "model", "high"), [-1.0] * 4, "random actions do not improve"),
        (("counterfactual", "rows", "oracle", "top1", "mean"), 0.9, "engine replayed a second time"),
        (("counterfactual", "rows", "copy_last", "top1", "low"), 0.8, "copy_last is not above chance"),
        (("counterfactual", "rows", "no_actions", "top1", "low"), 0.8, "no_actions is not above chance"),
        (("counterfactual", "rows", "wrong_actions", "top1", "low"), 1.1, ">= model >= wrong_actions"),
        (("probe", "counterfactual", "f1", "no_actions", "low"), 0.9, "reads no_actions no better"),
        (("probe", "recorded", "f1", "real", "low"), 0.1, "reads real frames better"),
    ):
        assert says in failing(changed(result, where, value)), where


def test_without_an_engine_the_rest_is_asked(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no game to replay, the answer says so and has everything else."""

    def no_game(settings: Any) -> Any:
        raise ValueError("no environment named 'lost'")

    monkeypatch.setattr(oracle, "open_game", no_game)
    result = measure(subject, lambda done, total: None)
    assert result["counterfactual"] == {"skipped": "the real engine cannot be asked: no environment named 'lost'"}
    assert "grid" not in result
    assert set(result["probe"]["recorded"]["f1"]) == {"real", "reconstruction", "model", "no_actions", "copy_last"}
    assert len(result["sanity"]) == 4


def changed(result: dict[str, Any], where: tuple[str, ...], value: Any) -> dict[str, Any]:
    other = copy.deepcopy(result)
    place = other
    for name in where[:-1]:
        place = place[name]
    place[where[-1]] = value
    return other


def failing(result: dict[str, Any]) -> str:
    return "; ".join(row["claim"] for row in claims(result) if not row["holds"])


def test_probe_sees_the_end_of_the_context(subject: Subject) -> None:
    """The first label is read off the last two context frames and the first future one, in every row."""
    clips = subject.clips(2)
    seen: list[np.ndarray] = []

    class Spy(CrossValidatedProbes):
        def label(self, frames: np.ndarray, folds: np.ndarray) -> np.ndarray:
            seen.append(frames)
            return np.zeros((len(frames), frames.shape[1] - 2), np.int64)

    probes = Spy(probes=[], action_names=subject.dataset.info.action_names)
    probes.folds = lambda clips: np.zeros(len(clips.frames), np.int64)  # type: ignore[method-assign]
    future = clips.frames[:, 3:]
    labels = read_actions(probes, subject.simulator, clips, {"real": future}, context=3)
    assert {row: values.shape for row, values in labels.items()} == {"real": (6, 2), "reconstruction": (6, 2)}
    np.testing.assert_array_equal(seen[0], clips.frames[:, 1:])
    tokenizer = subject.simulator.tokenizer
    np.testing.assert_array_equal(seen[1], tokenizer.decode(tokenizer.encode(clips.frames[:, 1:])))


def test_f1_interval_holds_the_f1() -> None:
    """A probe that is always right has F1 1 however clips are drawn; otherwise the interval is around the F1."""
    rng = np.random.default_rng(0)
    asked = rng.integers(3, size=(20, 4))
    perfect = f1_interval(confusions(asked, asked, 3), rng)
    assert perfect == pytest.approx({"mean": 1, "low": 1, "high": 1})
    other = f1_interval(confusions(asked, np.where(rng.random((20, 4)) < 0.5, asked, 0), 3), rng)
    assert other["low"] < other["mean"] < other["high"] < 1
