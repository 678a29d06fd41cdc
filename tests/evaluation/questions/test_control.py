"""Control, measured where the answer is known; and the claims that have to go red when the checker is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.worlds import record_toy, tiny_simulator
from worldmodel.evaluation.answers import Answer, Claim, Scalar, Table, from_json, to_json
from worldmodel.evaluation.harness import oracle
from worldmodel.evaluation.harness.oracle import Oracle
from worldmodel.evaluation.harness.subject import Subject, copy_last
from worldmodel.evaluation.metrics import probe
from worldmodel.evaluation.metrics.counterfactuals import Choices
from worldmodel.evaluation.metrics.cross_validation import CrossValidatedProbes
from worldmodel.evaluation.metrics.inverse_dynamics import f1_interval, read_actions
from worldmodel.evaluation.metrics.probe import confusions
from worldmodel.evaluation.questions import control
from worldmodel.evaluation.questions.control import delta_psnr, measure
from worldmodel.rollouts import EpisodeDataset


@pytest.fixture
def subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """The toy world and a model with random weights, asked as briefly as can be."""
    monkeypatch.setattr(probe, "STEPS", 10)
    monkeypatch.setattr(control, "STARTS", 20)
    dataset = EpisodeDataset(record_toy(tmp_path / "data", episodes=2))
    return Subject(simulator=tiny_simulator(), dataset=dataset, num_clips=6, context=3, quick=True)


def test_delta_psnr_of_those_who_are_known(subject: Subject) -> None:
    """The engine loses much under random actions, all it shows is real; a frame held still loses exactly nothing."""
    clips = subject.clips(control.HORIZON)
    with closing(Oracle(subject.dataset)) as engine:
        future, delta = delta_psnr(engine, clips, subject)
    np.testing.assert_array_equal(future, clips.frames[:, 3:7])
    assert delta.shape == (6, 4)
    assert delta.min() >= 0
    assert delta[:, -1].mean() > 10
    held, delta = delta_psnr(copy_last, clips, subject)
    np.testing.assert_array_equal(held[:, 2], clips.frames[:, 2])
    np.testing.assert_array_equal(delta, 0)


def test_whole_answer_and_its_claims(subject: Subject) -> None:
    """The answer is JSON, the checks of the checker hold in it, and each goes red when its figures are wrong."""
    reported: list[float] = []
    result = measure(subject, lambda done, total: reported.append(done / total))
    assert reported == sorted(reported)
    assert reported[-1] == 1
    assert from_json(to_json(result)).tables.keys() == result.tables.keys()
    table = result.tables["counterfactuals"]
    assert list(table.rows) == ["oracle", "reconstruction", "model", "no_actions", "copy_last", "shuffled_actions"]
    assert table["oracle", "top1"].value == 1
    assert table["copy_last", "top1"].value == pytest.approx(result.scalars["chance"].number)
    delta = result.series["delta_psnr"].rows
    assert delta["copy_last"].mean == delta["no_actions"].mean == (0, 0, 0, 0)
    assert [picture.png != "" for picture in result.pictures.values()] == [True]
    assert [claim.text for claim in result.claims if not claim.holds] == []


def test_claims_go_red(subject: Subject) -> None:
    """Each check of the checker fails when what it checks is wrong."""
    result = measure(subject, lambda done, total: None)
    recorded = result.tables["probe/recorded"]
    delta = {row: np.zeros((6, 4)) for row in ("model", "no_actions", "copy_last")}
    right = dict.fromkeys(("real", "reconstruction", "model"), np.full(20, 0.5))
    assert not control._blind({**delta, "copy_last": np.ones((6, 4))}).holds
    assert control._blind(delta).holds
    assert failing(read_part(recorded, right).claims) == []
    assert failing(read_part(recorded, {**right, "model": np.ones(20)}).claims) == [
        "actions held: the probe reads real >= reconstruction >= model"
    ]
    good = {row: Choices(top1=np.full(9, value), top1_all_steps=np.full(9, value), ties=0, confusion=np.eye(4))
            for row, value in (("oracle", 1.0), ("no_actions", 0.25), ("copy_last", 0.25))}  # fmt: skip
    assert failing(control._counterfactual_claims(0.25, good)) == []
    bad = {**good, "oracle": good["copy_last"], "copy_last": good["oracle"]}
    assert len(failing(control._counterfactual_claims(0.25, bad))) == 2


def test_a_probe_that_cannot_read_the_game_says_nothing(subject: Subject) -> None:
    """Where real frames are read no better than by chance, nothing is concluded from imagined ones, and it is said."""
    recorded = measure(subject, lambda done, total: None).tables["probe/recorded"]
    right = dict.fromkeys(("real", "reconstruction", "model"), np.full(20, 0.05))
    part = read_part(recorded, right, real=Scalar(0.05, 0.01, 0.08))
    assert not part.tables
    assert not part.claims
    reason = part.skipped["inverse dynamics, actions held"]
    assert reason == "the probe does not learn to read this game's real frames: F1 0.05, chance 0.25"


def read_part(table: Table, right: dict[str, np.ndarray], **changes: Scalar) -> Answer:
    return control._probe_part("counterfactual", "actions held", (with_f1(table, **changes), right), 4)


def test_without_an_engine_the_rest_is_asked(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no game to replay, the answer says so and has everything else."""

    def no_game(settings: Any) -> Any:
        raise ValueError("no environment named 'lost'")

    monkeypatch.setattr(oracle, "open_game", no_game)
    result = measure(subject, lambda done, total: None)
    assert result.skipped == {"counterfactuals": "the real engine cannot be asked: no environment named 'lost'"}
    assert not result.pictures
    assert set(result.tables["probe/recorded"].rows) == {"real", "reconstruction", "model", "no_actions", "copy_last"}
    assert len(result.claims) == 2


def with_f1(table: Table, **changes: Scalar) -> Table:
    """Return a table of the probe with other F1; those that are not named are all alike."""
    alike = Scalar(0.5, 0.45, 0.55)
    rows = {row: (changes.get(row, alike), *cells[1:]) for row, cells in table.rows.items()}
    return Table(table.title, table.columns, rows)


def failing(claims: Iterable[Claim]) -> list[str]:
    return [claim.text for claim in claims if not claim.holds]


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
    assert (perfect.value, perfect.low, perfect.high) == (1, 1, 1)
    other = f1_interval(confusions(asked, np.where(rng.random((20, 4)) < 0.5, asked, 0), 3), rng)
    assert other.low < other.number < other.high < 1  # type: ignore[operator]
