"""The questions in their order, asked of one subject: what a question answered is kept, and not computed again."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import resource
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ...rollouts.manifest import write_atomically
from ...types import Report
from ..answers import Answer, from_json, to_json
from . import provenance
from .subject import Subject
from .tokenizer_alone import TokenizerSubject

SCHEMA = 3
METRICS = "metrics.json"

# Question -> the module in questions/ that has its `measure(subject, report)`, in the order in which they are asked.
QUESTIONS = {
    "tokenizer": "tokenizer",
    "objects": "objects",
    "likelihood": "likelihood",
    "fidelity": "fidelity",
    "changes": "changes",
    "control": "control",
    "stability": "stability",
    "idle": "idle",
    "there_and_back": "there_and_back",
    "full_circle": "full_circle",
    "indistinguishability": "indistinguishability",
    "outcome": "outcome",
    "speed": "frame_rate",
}
PICTURES = {"strips": "strips"}  # made for the page like an answer, but no number
ALONE = ("speed",)  # questions whose answers are only right where nothing else runs

OnProgress = Callable[[str, int, int], None]  # called with a question, how much is done, of how much


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The content of metrics.json, and the answers with their pictures."""

    metrics: dict[str, Any]
    answers: dict[str, Answer]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a question answered, and under which circumstances."""

    key: str
    answer: Answer
    seconds: float
    cpu_seconds: float  # of this process and of the games that it ran
    code: dict[str, str]


class AskError(ValueError):
    """A question could not be asked, and this is why."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question that can be asked, what identifies its answer, and the file that keeps it."""

    name: str
    key: str
    file: Path

    def kept(self) -> Kept | None:
        """Return the answer that is already there."""
        return read_kept(self.file, self.key)


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Receives the progress and the answers of questions."""

    on_progress: OnProgress = lambda name, done, total: None
    on_answer: Callable[[str, Kept], None] = lambda name, kept: None
    on_failure: Callable[[str, ValueError], None] = lambda name, error: None


class Asker(Protocol):
    """Asks questions, in processes of its own for instance: see workers.py."""

    def ask(self, questions: Sequence[Question], on_progress: OnProgress) -> Iterator[tuple[Question, Kept | AskError]]:
        """Yield each question with its answer, or why there is none, in any order."""


def evaluate(
    subject: Subject | TokenizerSubject,
    checkpoint: Path,
    out: Path,
    *,
    questions: Sequence[str],
    listener: Listener | None = None,
    workers: Asker | None = None,
) -> Evaluation:
    """Ask `questions`, keep each answer in `out`/answers at once, and write `out`/metrics.json.

    An answer that is already there is taken as it is where checkpoint, data, settings, machine and the package's code
    are the same. The metrics hold all answers that there are, also to questions that are not asked this time. Workers
    ask everything but ALONE, which is asked here once they are done; without them everything is asked here in turn.

    Raises:
        ValueError: if a question does not exist or the checkpoint cannot be read.
    """
    for name in questions:
        if name not in QUESTIONS:
            raise ValueError(f"no question named {name!r}; questions: {', '.join(QUESTIONS)}")
    listener = listener or Listener()
    about = {
        "checkpoint": provenance.checkpoint(checkpoint, subject),
        "data": provenance.data(subject),
        "settings": provenance.settings(subject),
        "hardware": provenance.hardware(),
    }
    (out / "answers").mkdir(parents=True, exist_ok=True)
    possible = [
        Question(name=name, key=answer_key(name, about), file=out / "answers" / f"{name}.json")
        for name in QUESTIONS | PICTURES
    ]
    known = {question.name: kept for question in possible if (kept := question.kept())}
    for name in questions:
        if name in known:
            listener.on_answer(name, known[name])
    missing = [question for question in possible if question.name in (*questions, *PICTURES)]
    missing = [question for question in missing if question.name not in known]
    failures: dict[str, str] = {}
    with closing(_answers(missing, subject, workers, listener.on_progress)) as news:
        for question, found in news:
            if isinstance(found, AskError):
                failures[question.name] = str(found)
                listener.on_failure(question.name, found)
                continue
            known[question.name] = found
            if question.name in questions:
                listener.on_answer(question.name, found)
    ordered = {name: known[name] for name in QUESTIONS | PICTURES if name in known}
    metrics = assemble(about, {name: kept for name, kept in ordered.items() if name in QUESTIONS}, failures)
    write_atomically(out / METRICS, dump(metrics))
    return Evaluation(metrics=metrics, answers={name: kept.answer for name, kept in ordered.items()})


def _answers(
    questions: Sequence[Question],
    subject: Subject | TokenizerSubject,
    workers: Asker | None,
    on_progress: OnProgress,
) -> Generator[tuple[Question, Kept | AskError], None, None]:
    """Yield each question with its answer, or why there is none."""
    together = [question for question in questions if question.name not in ALONE]
    if workers and len(together) > 1:
        yield from workers.ask(together, on_progress)
        questions = [question for question in questions if question not in together]
    for question in questions:
        kept: Kept | AskError
        try:
            kept = ask(question, subject, partial(on_progress, question.name))
        except ValueError as error:  # the others can still be asked
            kept = AskError(str(error))
        yield question, kept


def answer_key(name: str, about: dict[str, Any]) -> str:
    """Return what identifies an answer: a SHA-256 over checkpoint, data, settings, machine and the package's code."""
    machine = {name: value for name, value in about["hardware"].items() if name != "threads"}  # chosen anew each time
    asked = [about["checkpoint"]["fingerprint"], about["data"]["fingerprint"], about["settings"]]
    identity = [SCHEMA, name, *asked, machine, provenance.source()]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def read_kept(file: Path, key: str) -> Kept | None:
    """Return the answer in `file` if there is one with this key."""
    try:
        content = json.loads(file.read_text())
        kept = Kept(**content | {"answer": from_json(content["answer"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return kept if kept.key == key else None


def assemble(about: dict[str, Any], known: dict[str, Kept], failures: dict[str, str]) -> dict[str, Any]:
    """Return the content of metrics.json: who was asked, the answers without their pictures, and whether they hold."""
    broken = [
        {"question": name, "text": claim.text, "figures": dict(claim.figures)}
        for name, kept in known.items()
        for claim in kept.answer.claims
        if not claim.holds
    ]
    split = about["data"]["split"]
    warnings = [] if split == "test" else [f"the data is of split {split!r}, not of 'test': the model may know it"]
    return {
        "schema": SCHEMA,
        **about,
        "code": provenance.code(),
        "warnings": warnings,
        "sane": not broken,
        "broken_claims": broken,
        "failures": failures,
        "runs": {
            name: {"seconds": round(kept.seconds, 2), "cpu_seconds": round(kept.cpu_seconds, 2), **kept.code}
            for name, kept in known.items()
        },
        "answers": {name: to_json(kept.answer, pictures=False) for name, kept in known.items()},
    }


def ask(question: Question, subject: Subject | TokenizerSubject, report: Report) -> Kept:
    """Return what a question answers, and keep it.

    Raises:
        ValueError: if the question cannot be asked about this subject.
    """
    report(0, 1)
    began, computed = time.perf_counter(), _cpu_seconds()
    measured = to_json(_module(question.name).measure(subject, report))
    content: dict[str, Any] = {
        "key": question.key,
        "answer": measured,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": _cpu_seconds() - computed,
        "code": provenance.code(),
    }
    write_atomically(question.file, dump(content))
    return Kept(**content | {"answer": from_json(measured)})


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def dump(content: dict[str, Any]) -> bytes:
    """Return JSON in which a list of numbers is one line: an evaluation has tens of thousands."""
    text = json.dumps(content, indent=1, allow_nan=False)
    # No JSON string holds a line break.
    text = re.sub(r"\[\n[^][{}\"]*\]", lambda found: " ".join(found[0].split()), text)
    return (text + "\n").encode()


def _module(name: str) -> Any:
    return importlib.import_module(f"..questions.{(QUESTIONS | PICTURES)[name]}", __package__)
