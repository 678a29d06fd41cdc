"""The frame of the evaluation: an answer is kept, asked again only where something is different, and never invented."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from pathlib import Path

import pytest

from tests.worlds import record_toy, save_simulator
from worldmodel.checkpoints.index import write_index
from worldmodel.evaluation.answers import Answer, Claim, Curve, Picture, Scalar, Series
from worldmodel.evaluation.harness import provenance, run
from worldmodel.evaluation.harness.run import Listener, evaluate
from worldmodel.evaluation.harness.subject import Subject
from worldmodel.rollouts import EpisodeDataset
from worldmodel.simulator import Simulator
from worldmodel.types import Report

ANSWER = Answer(scalars={"number": Scalar(1.5)})
NUMBER = {"scalars": {"number": 1.5}}


class Part(types.ModuleType):
    """A question that counts how often it is asked."""

    def __init__(self, name: str) -> None:
        super().__init__(f"worldmodel.evaluation.questions.{name}")
        self.asked, self.answer, self.error = 0, ANSWER, ""

    def measure(self, subject: Subject, report: Report) -> Answer:
        self.asked += 1
        report(1, 1)
        if self.error:
            raise ValueError(self.error)
        return self.answer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_simulator(tmp_path_factory.mktemp("model") / "c")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_toy(tmp_path_factory.mktemp("toy") / "d")


@pytest.fixture
def subject(checkpoint: Path, data: Path) -> Subject:
    return Subject(simulator=Simulator.from_pretrained(checkpoint), dataset=EpisodeDataset(data), num_clips=4)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Part]:
    """Two questions in place of all others."""
    found = {}
    for name in ("first", "second"):
        found[name] = Part(name)
        monkeypatch.setitem(sys.modules, found[name].__name__, found[name])
    monkeypatch.setattr(run, "QUESTIONS", {name: name for name in found})
    monkeypatch.setattr(run, "PICTURES", {})
    return found


def asked(parts: dict[str, Part]) -> tuple[int, int]:
    return parts["first"].asked, parts["second"].asked


def test_an_answer_is_not_asked_for_twice(parts: dict[str, Part], subject: Subject, checkpoint: Path) -> None:
    """The same question of the same subject is answered from the disk, and the numbers are the same."""
    first = evaluate(subject, checkpoint, Path("out"), questions=["first", "second"])
    recording: list[str] = []
    listener = Listener(on_answer=lambda part, answer: recording.append(part))
    again = evaluate(subject, checkpoint, Path("out"), questions=["first", "second"], listener=listener)
    assert asked(parts) == (1, 1)
    assert recording == ["first", "second"]
    assert first.metrics["answers"] == again.metrics["answers"] == dict.fromkeys(("first", "second"), NUMBER)
    assert json.loads(Path("out/metrics.json").read_text()) == again.metrics


def test_an_answer_is_kept_before_the_next_question(parts: dict[str, Part], subject: Subject, checkpoint: Path) -> None:
    """What was answered before an interruption is not asked for again after it."""

    def interrupt(part: str, done: int, total: int) -> None:
        if part == "second":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(
            subject, checkpoint, Path("out"), questions=["first", "second"], listener=Listener(on_progress=interrupt)
        )
    outcome = evaluate(subject, checkpoint, Path("out"), questions=["first", "second"])
    assert asked(parts) == (1, 1)
    assert list(outcome.metrics["answers"]) == ["first", "second"]


def test_another_subject_is_asked_anew(parts: dict[str, Part], subject: Subject, checkpoint: Path) -> None:
    """Other settings make another answer; a damaged one counts as none."""
    out = Path("out")
    evaluate(subject, checkpoint, out, questions=["first"])
    evaluate(dataclasses.replace(subject, seed=1), checkpoint, out, questions=["first"])
    assert asked(parts) == (2, 0)
    evaluate(dataclasses.replace(subject, quick=True), checkpoint, out, questions=["first"])
    assert asked(parts) == (3, 0)
    (out / "answers" / "first.json").write_text("{")
    evaluate(dataclasses.replace(subject, quick=True), checkpoint, out, questions=["first"])
    assert asked(parts) == (4, 0)


def test_another_package_is_asked_anew(
    parts: dict[str, Part], subject: Subject, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change anywhere in the package, the dynamics' included, makes another answer: old numbers never come back."""
    evaluate(subject, checkpoint, Path("out"), questions=["first"])
    monkeypatch.setattr(provenance, "source", lambda: "another dynamics")
    evaluate(subject, checkpoint, Path("out"), questions=["first"])
    assert asked(parts) == (2, 0)


def test_another_checkpoint_and_other_data_are_asked_anew(
    parts: dict[str, Part], subject: Subject, checkpoint: Path, tmp_path: Path
) -> None:
    """The weights and the recordings decide, not where they lie."""
    index = json.loads((checkpoint / "config.json").read_text())
    other = tmp_path / "other"
    (other / "tokenizer").mkdir(parents=True)
    (other / "tokenizer" / "config.json").write_bytes((checkpoint / "tokenizer" / "config.json").read_bytes())
    (other / "config.json").write_text(json.dumps(index))
    evaluate(subject, checkpoint, Path("out"), questions=["first"])
    evaluate(subject, other, Path("out"), questions=["first"])
    assert asked(parts) == (1, 0)
    name = next(iter(index["files"]))
    write_index(other, index | {"files": {name: "0" * 64}})
    evaluate(subject, other, Path("out"), questions=["first"])
    assert asked(parts) == (2, 0)
    recorded = EpisodeDataset(record_toy(tmp_path / "d", episodes=2))
    evaluate(dataclasses.replace(subject, dataset=recorded), other, Path("out"), questions=["first"])
    assert asked(parts) == (3, 0)


def test_asking_one_keeps_the_others(parts: dict[str, Part], subject: Subject, checkpoint: Path) -> None:
    """`--only` asks what it names; the numbers of the parts that were asked before stay in metrics.json."""
    evaluate(subject, checkpoint, Path("out"), questions=["first"])
    outcome = evaluate(subject, checkpoint, Path("out"), questions=["second"])
    assert asked(parts) == (1, 1)
    assert list(outcome.metrics["answers"]) == ["first", "second"]
    with pytest.raises(ValueError, match="no question named 'third'"):
        evaluate(subject, checkpoint, Path("out"), questions=["third"])


def test_a_part_that_fails_does_not_stop_the_others(parts: dict[str, Part], subject: Subject, checkpoint: Path) -> None:
    """Its reason is in the metrics, it has no numbers there, and it is asked again the next time."""
    parts["first"].error = "no engine"
    failed: list[str] = []
    listener = Listener(on_failure=lambda part, error: failed.append(f"{part}: {error}"))
    outcome = evaluate(subject, checkpoint, Path("out"), questions=["first", "second"], listener=listener)
    assert failed == ["first: no engine"]
    assert outcome.metrics["failures"] == {"first": "no engine"}
    assert list(outcome.metrics["answers"]) == ["second"]
    parts["first"].error = ""
    outcome = evaluate(subject, checkpoint, Path("out"), questions=["first", "second"])
    assert asked(parts) == (2, 1)
    assert outcome.metrics["failures"] == {}


def test_the_verdict(parts: dict[str, Part], subject: Subject, checkpoint: Path) -> None:
    """A claim that does not hold makes the numbers insane; recordings of the training split are warned of."""
    claim = Claim(text="real is nearer", holds=True)
    parts["first"].answer = Answer(claims=(claim,))
    outcome = evaluate(subject, checkpoint, Path("out"), questions=["first"])
    assert outcome.metrics["sane"] is True
    assert "train" in outcome.metrics["warnings"][0]
    parts["second"].answer = Answer(claims=(claim, dataclasses.replace(claim, holds=False)))
    outcome = evaluate(subject, checkpoint, Path("out"), questions=["second"])
    assert outcome.metrics["sane"] is False
    assert outcome.metrics["broken_claims"] == [{"question": "second", "text": "real is nearer", "figures": {}}]


def test_lists_of_numbers_are_one_line(parts: dict[str, Part], subject: Subject, checkpoint: Path) -> None:
    """A list of numbers is a line, and texts with brackets are untouched."""
    name = {"name": Scalar("[ a,\n  b ]")}
    parts["first"].answer = Answer(series={"psnr": Series("x", (1, 2), {"model": Curve((1.5, 2.0))})}, scalars=name)
    metrics = evaluate(subject, checkpoint, Path("out"), questions=["first"]).metrics
    text = Path("out/metrics.json").read_text()
    assert '"model": [ 1.5, 2.0 ]' in text
    assert json.loads(text) == metrics
    assert metrics["answers"]["first"]["scalars"]["name"] == "[ a,\n  b ]"


def test_metrics_say_where_they_come_from(parts: dict[str, Part], subject: Subject, checkpoint: Path) -> None:
    """Who was asked, about what, how, by which code and on which machine; pictures are no numbers."""
    parts["first"].answer = Answer(pictures={"grid": Picture(png="abc")}, scalars={"number": Scalar(1)})
    outcome = evaluate(subject, checkpoint, Path("out"), questions=["first"])
    metrics = outcome.metrics
    assert outcome.answers == {"first": parts["first"].answer}
    assert metrics["answers"] == {"first": {"scalars": {"number": 1}}}
    assert metrics["checkpoint"]["tokenizer"] == subject.simulator.tokenizer.fingerprint()
    assert metrics["checkpoint"]["parameters"]["dynamics"] > metrics["checkpoint"]["parameters"]["tokenizer"] > 1000
    assert metrics["data"]["fingerprint"] == subject.dataset.fingerprint
    assert metrics["settings"]["clips"] == 4
    assert metrics["code"]["version"]
    assert metrics["hardware"]["cores"] >= 1
    assert metrics["hardware"]["processor"]
    assert metrics["runs"]["first"]["seconds"] >= 0
    assert metrics["runs"]["first"]["cpu_seconds"] >= 0
    assert metrics["checkpoint"]["bytes"] > 1000
