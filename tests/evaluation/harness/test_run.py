"""The frame of the evaluation: an answer is kept, asked again only where something is different, and never invented."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tests.worlds import record_toy, save_simulator
from worldmodel.evaluation.harness import run
from worldmodel.evaluation.harness.run import Listener, evaluate
from worldmodel.evaluation.harness.subject import Subject
from worldmodel.index import write_index
from worldmodel.rollouts import EpisodeDataset
from worldmodel.simulator import Simulator
from worldmodel.types import Report


class Part(types.ModuleType):
    """A part that counts how often it is asked."""

    def __init__(self, name: str, file: Path, answer: dict[str, Any]) -> None:
        super().__init__(f"worldmodel.evaluation.questions.{name}")
        self.__file__ = str(file)
        self.asked, self.answer = 0, answer

    def measure(self, subject: Subject, report: Report) -> dict[str, Any]:
        self.asked += 1
        report(1, 1)
        if "error" in self.answer:
            raise ValueError(self.answer["error"])
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
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Part]:
    """Two parts in place of all others."""
    found = {}
    for name in ("first", "second"):
        file = tmp_path / f"{name}.py"
        file.write_text(f'"""{name}?"""\n')
        found[name] = Part(name, file, {"number": 1.5})
        monkeypatch.setitem(sys.modules, found[name].__name__, found[name])
    monkeypatch.setattr(run, "PARTS", {name: name for name in found})
    monkeypatch.setattr(run, "PICTURES", {})
    return found


def asked(parts: dict[str, Part]) -> tuple[int, int]:
    return parts["first"].asked, parts["second"].asked


def test_an_answer_is_not_asked_for_twice(parts: dict[str, Part], subject: Subject, checkpoint: Path) -> None:
    """The same question of the same subject is answered from the disk, and the numbers are the same."""
    first = evaluate(subject, checkpoint, Path("out"), parts=["first", "second"])
    recording: list[str] = []
    listener = Listener(on_answer=lambda part, answer: recording.append(part))
    again = evaluate(subject, checkpoint, Path("out"), parts=["first", "second"], listener=listener)
    assert asked(parts) == (1, 1)
    assert recording == ["first", "second"]
    assert first.metrics["parts"] == again.metrics["parts"] == {"first": {"number": 1.5}, "second": {"number": 1.5}}
    assert json.loads(Path("out/metrics.json").read_text()) == again.metrics


def test_an_answer_is_kept_before_the_next_question(parts: dict[str, Part], subject: Subject, checkpoint: Path) -> None:
    """What was answered before an interruption is not asked for again after it."""

    def interrupt(part: str, done: int, total: int) -> None:
        if part == "second":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(subject, checkpoint, Path("out"), parts=["first", "second"], listener=Listener(on_progress=interrupt))
    outcome = evaluate(subject, checkpoint, Path("out"), parts=["first", "second"])
    assert asked(parts) == (1, 1)
    assert list(outcome.metrics["parts"]) == ["first", "second"]


def test_another_subject_is_asked_anew(parts: dict[str, Part], subject: Subject, checkpoint: Path) -> None:
    """Other settings, or other source of a part, make another answer; a damaged one counts as none."""
    out = Path("out")
    evaluate(subject, checkpoint, out, parts=["first"])
    evaluate(dataclasses.replace(subject, seed=1), checkpoint, out, parts=["first"])
    assert asked(parts) == (2, 0)
    evaluate(dataclasses.replace(subject, quick=True), checkpoint, out, parts=["first"])
    assert asked(parts) == (3, 0)
    Path(str(parts["first"].__file__)).write_text('"""first, differently?"""\n')
    evaluate(dataclasses.replace(subject, quick=True), checkpoint, out, parts=["first"])
    assert asked(parts) == (4, 0)
    (out / "parts" / "first.json").write_text("{")
    evaluate(dataclasses.replace(subject, quick=True), checkpoint, out, parts=["first"])
    assert asked(parts) == (5, 0)


def test_what_a_part_imports_is_part_of_it(parts: dict[str, Part], subject: Subject, checkpoint: Path) -> None:
    """A change two imports away asks the part anew, and one in a file that it does not import does not."""
    file = Path(str(parts["first"].__file__))
    file.write_text('"""First?"""\nfrom .near import x\n')
    file.with_name("near.py").write_text("from .far import x\nfrom .first import y\n")
    file.with_name("far.py").write_text("x = 1\n")
    file.with_name("other.py").write_text("x = 1\n")
    for name, count in (("far", 2), ("other", 2), ("near", 3)):
        evaluate(subject, checkpoint, Path("out"), parts=["first"])
        with file.with_name(f"{name}.py").open("a") as stream:
            stream.write("# changed\n")
        evaluate(subject, checkpoint, Path("out"), parts=["first"])
        assert asked(parts) == (count, 0), name


def test_another_checkpoint_and_other_data_are_asked_anew(
    parts: dict[str, Part], subject: Subject, checkpoint: Path, tmp_path: Path
) -> None:
    """The weights and the recordings decide, not where they lie."""
    index = json.loads((checkpoint / "config.json").read_text())
    other = tmp_path / "other"
    (other / "tokenizer").mkdir(parents=True)
    (other / "tokenizer" / "config.json").write_bytes((checkpoint / "tokenizer" / "config.json").read_bytes())
    (other / "config.json").write_text(json.dumps(index))
    evaluate(subject, checkpoint, Path("out"), parts=["first"])
    evaluate(subject, other, Path("out"), parts=["first"])
    assert asked(parts) == (1, 0)
    name = next(iter(index["files"]))
    write_index(other, index | {"files": {name: "0" * 64}})
    evaluate(subject, other, Path("out"), parts=["first"])
    assert asked(parts) == (2, 0)
    recorded = EpisodeDataset(record_toy(tmp_path / "d", episodes=2))
    evaluate(dataclasses.replace(subject, dataset=recorded), other, Path("out"), parts=["first"])
    assert asked(parts) == (3, 0)


def test_asking_one_keeps_the_others(parts: dict[str, Part], subject: Subject, checkpoint: Path) -> None:
    """`--only` asks what it names; the numbers of the parts that were asked before stay in metrics.json."""
    evaluate(subject, checkpoint, Path("out"), parts=["first"])
    outcome = evaluate(subject, checkpoint, Path("out"), parts=["second"])
    assert asked(parts) == (1, 1)
    assert list(outcome.metrics["parts"]) == ["first", "second"]
    with pytest.raises(ValueError, match="no part named 'third'"):
        evaluate(subject, checkpoint, Path("out"), parts=["third"])


def test_a_part_that_fails_does_not_stop_the_others(parts: dict[str, Part], subject: Subject, checkpoint: Path) -> None:
    """Its reason is in the metrics, it has no numbers there, and it is asked again the next time."""
    parts["first"].answer = {"error": "no engine"}
    failed: list[str] = []
    listener = Listener(on_failure=lambda part, error: failed.append(f"{part}: {error}"))
    outcome = evaluate(subject, checkpoint, Path("out"), parts=["first", "second"], listener=listener)
    assert failed == ["first: no engine"]
    assert outcome.metrics["failures"] == {"first": "no engine"}
    assert list(outcome.metrics["parts"]) == ["second"]
    parts["first"].answer = {"number": 2.0}
    outcome = evaluate(subject, checkpoint, Path("out"), parts=["first", "second"])
    assert asked(parts) == (2, 1)
    assert outcome.metrics["failures"] == {}


def test_the_verdict(parts: dict[str, Part], subject: Subject, checkpoint: Path) -> None:
    """A claim that does not hold makes the numbers insane; recordings of the training split are warned of."""
    row = {"claim": "real is nearer", "holds": True, "figures": {}}
    parts["first"].answer = {"sanity": [row]}
    outcome = evaluate(subject, checkpoint, Path("out"), parts=["first"])
    assert outcome.metrics["sane"] is True
    assert "train" in outcome.metrics["warnings"][0]
    parts["second"].answer = {"sanity": [row, row | {"holds": False}]}
    outcome = evaluate(subject, checkpoint, Path("out"), parts=["second"])
    assert outcome.metrics["sane"] is False
    assert outcome.metrics["broken_claims"] == [{"part": "second", **row, "holds": False}]


def test_numbers_are_short_and_their_lists_one_line(parts: dict[str, Part], subject: Subject, checkpoint: Path) -> None:
    """Six digits, a list of numbers in a line, and texts with brackets untouched."""
    parts["first"].answer = {"psnr": [1 / 3, 2.0], "count": 1234567, "name": "[ a,\n  b ]"}
    metrics = evaluate(subject, checkpoint, Path("out"), parts=["first"]).metrics
    assert metrics["parts"]["first"] == {"psnr": [0.333333, 2.0], "count": 1234567, "name": "[ a,\n  b ]"}
    text = Path("out/metrics.json").read_text()
    assert "[ 0.333333, 2.0 ]" in text
    assert json.loads(text) == metrics


def test_what_is_no_number_is_our_own_mistake(parts: dict[str, Part], subject: Subject, checkpoint: Path) -> None:
    """NaN is never written, and the place where it arose is named."""
    parts["first"].answer = {"psnr": {"model": [1.0, float("nan")]}}
    with pytest.raises(AssertionError, match="/psnr/model/1"):
        evaluate(subject, checkpoint, Path("out"), parts=["first"])
    assert not Path("out/metrics.json").exists()


def test_metrics_say_where_they_come_from(parts: dict[str, Part], subject: Subject, checkpoint: Path) -> None:
    """Who was asked, about what, how, by which code and on which machine; pictures are no numbers."""
    parts["first"].answer = {"grid": {"png": "abc"}, "number": 1}
    outcome = evaluate(subject, checkpoint, Path("out"), parts=["first"])
    metrics = outcome.metrics
    assert outcome.pictures == {"first": {"grid": {"png": "abc"}}}
    assert metrics["parts"] == {"first": {"number": 1}}
    assert metrics["checkpoint"]["tokenizer"] == subject.simulator.tokenizer.fingerprint()
    assert metrics["checkpoint"]["parameters"]["dynamics"] > metrics["checkpoint"]["parameters"]["tokenizer"] > 1000
    assert metrics["data"]["fingerprint"] == subject.dataset.fingerprint
    assert metrics["settings"]["clips"] == 4
    assert metrics["code"]["version"]
    assert metrics["hardware"]["cores"] >= 1
    assert metrics["hardware"]["processor"]
    assert metrics["runs"]["first"]["seconds"] >= 0
