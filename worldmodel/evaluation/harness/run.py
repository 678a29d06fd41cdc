"""The questions in their order, asked of one subject: what a part answered is kept, and not computed again."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ...rollouts.manifest import write_atomically
from ...types import Report
from ..report.tables import is_picture
from . import provenance
from .subject import Subject
from .tokenizer_alone import TokenizerSubject

SCHEMA = 2
METRICS = "metrics.json"

# Part -> the module in this package that has its `measure(subject, report)`, in the order in which they are asked.
PARTS = {
    "tokenizer": "tokenizer",
    "likelihood": "likelihood",
    "fidelity": "fidelity",
    "control": "control",
    "stability": "stability",
    "indistinguishability": "indistinguishability",
    "speed": "frame_rate",
}
PICTURES = {"strips": "strips"}  # made for the report like a part, but no number
ALONE = ("speed",)  # parts that are only right where nothing else runs

OnProgress = Callable[[str, int, int], None]  # is told of a part how much is done, of how much


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The numbers, and the pictures of the parts that make some: part -> name -> whatever the report makes of it."""

    metrics: dict[str, Any]
    pictures: dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a part answered, and under which circumstances."""

    key: str
    result: dict[str, Any]
    seconds: float
    code: dict[str, str]


class AskError(ValueError):
    """A part could not be asked, and this is why."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A part that can be asked, what identifies its answer, and the file that keeps it."""

    part: str
    key: str
    file: Path

    def kept(self) -> Answer | None:
        """Return the answer that is already there."""
        return read_answer(self.file, self.key)


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Is told how the questions go."""

    on_progress: OnProgress = lambda part, done, total: None
    on_answer: Callable[[str, Answer], None] = lambda part, answer: None
    on_failure: Callable[[str, ValueError], None] = lambda part, error: None


class Asker(Protocol):
    """Asks questions, in processes of its own for instance: see workers.py."""

    def ask(
        self, questions: Sequence[Question], on_progress: OnProgress
    ) -> Iterator[tuple[Question, Answer | AskError]]:
        """Yield each question with its answer, or why there is none, in any order."""


def evaluate(
    subject: Subject | TokenizerSubject,
    checkpoint: Path,
    out: Path,
    *,
    parts: Sequence[str],
    listener: Listener | None = None,
    workers: Asker | None = None,
) -> Outcome:
    """Ask `parts`, keep each answer in `out`/parts at once, and write `out`/metrics.json.

    An answer that is already there is taken as it is where checkpoint, data, settings and the part's code are the
    same. The metrics hold the answers of all parts that have one, also of those that are not asked this time. Workers
    ask everything but ALONE, which is asked here once they are done; without them everything is asked here in turn.

    Raises:
        ValueError: if a part does not exist or the checkpoint cannot be read.
    """
    for part in parts:
        if part not in PARTS:
            raise ValueError(f"no part named {part!r}; parts: {', '.join(PARTS)}")
    listener = listener or Listener()
    about = {
        "checkpoint": provenance.checkpoint(checkpoint, subject),
        "data": provenance.data(subject),
        "settings": provenance.settings(subject),
        "hardware": provenance.hardware(),
    }
    (out / "parts").mkdir(parents=True, exist_ok=True)
    questions = [
        Question(part=part, key=part_key(part, about), file=out / "parts" / f"{part}.json") for part in PARTS | PICTURES
    ]
    known = {question.part: kept for question in questions if (kept := question.kept())}
    for part in parts:
        if part in known:
            listener.on_answer(part, known[part])
    missing = [
        question for question in questions if question.part in (*parts, *PICTURES) and question.part not in known
    ]
    failures: dict[str, str] = {}
    with closing(_answers(missing, subject, workers, listener.on_progress)) as news:
        for question, answer in news:
            if isinstance(answer, AskError):
                failures[question.part] = str(answer)
                listener.on_failure(question.part, answer)
                continue
            known[question.part] = answer
            if question.part in parts:
                listener.on_answer(question.part, answer)
    answers = {part: known[part] for part in PARTS | PICTURES if part in known}
    numbers = {part: answer for part, answer in answers.items() if part in PARTS}
    metrics = assemble(about, numbers, failures)
    write_atomically(out / METRICS, _dump(metrics))
    pictures = {part: found for part, answer in answers.items() if (found := _pictures(part, answer.result))}
    return Outcome(metrics=metrics, pictures=pictures)


def _answers(
    questions: Sequence[Question],
    subject: Subject | TokenizerSubject,
    workers: Asker | None,
    on_progress: OnProgress,
) -> Generator[tuple[Question, Answer | AskError], None, None]:
    """Yield each question with its answer, or why there is none."""
    together = [question for question in questions if question.part not in ALONE]
    if workers and len(together) > 1:
        yield from workers.ask(together, on_progress)
        questions = [question for question in questions if question not in together]
    for question in questions:
        answer: Answer | AskError
        try:
            answer = ask(question, subject, partial(on_progress, question.part))
        except ValueError as error:  # the others can still be asked
            answer = AskError(str(error))
        yield question, answer


def part_key(part: str, about: dict[str, Any]) -> str:
    """Return what identifies an answer: a SHA-256 over checkpoint, data, settings, machine and the part's source.

    The source is the part's file and those of this package that it imports, directly or not.
    """
    files = sorted(_sources(Path(str(_module(part).__file__)), set()))
    source = b"".join(file.read_bytes() for file in files)
    machine = {name: value for name, value in about["hardware"].items() if name != "threads"}  # chosen anew each time
    asked = [about["checkpoint"]["fingerprint"], about["data"]["fingerprint"], about["settings"]]
    identity = [SCHEMA, part, *asked, machine]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode() + source).hexdigest()


def _sources(file: Path, found: set[Path]) -> set[Path]:
    """Return a file and, added to `found`, those beside it that it imports."""
    found.add(file)
    for name in re.findall(r"^from \.(\w+) import", file.read_text(), re.MULTILINE):
        beside = file.with_name(f"{name}.py")
        if beside.exists() and beside not in found:
            _sources(beside, found)
    return found


def read_answer(file: Path, key: str) -> Answer | None:
    """Return the answer in `file` if there is one with this key."""
    try:
        answer = Answer(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return answer if answer.key == key else None


def assemble(about: dict[str, Any], answers: dict[str, Answer], failures: dict[str, str]) -> dict[str, Any]:
    """Return the content of metrics.json: who was asked, the answers without their pictures, and whether they hold."""
    broken = [
        {"part": part, **row}
        for part, answer in answers.items()
        for row in answer.result.get("sanity", [])
        if not row["holds"]
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
        "runs": {part: {"seconds": round(answer.seconds, 2), **answer.code} for part, answer in answers.items()},
        "parts": {part: _without_pictures(answer.result) for part, answer in answers.items()},
    }


def ask(question: Question, subject: Subject | TokenizerSubject, report: Report) -> Answer:
    """Return what a part answers, and keep it.

    Raises:
        ValueError: if the part cannot be asked about this subject.
    """
    report(0, 1)
    began = time.perf_counter()
    result = _module(question.part).measure(subject, report)
    seconds = time.perf_counter() - began
    odd = list(not_finite(result))
    assert not odd, f"{question.part} answers with what is no number: {odd}"
    answer = Answer(key=question.key, result=rounded(result), seconds=seconds, code=provenance.code())
    write_atomically(question.file, _dump(asdict(answer)))
    return answer


def not_finite(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of everything in a result that is NaN or infinite."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in pairs:
        yield from not_finite(part, f"{path}/{name}")


def rounded(value: Any) -> Any:
    """Return a result with its floats at six digits: more would be noise, and make the file several times as long."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    return [rounded(part) for part in value] if isinstance(value, list) else value


def _pictures(part: str, result: dict[str, Any]) -> dict[str, Any]:
    shown = result if part in PICTURES else {name: value for name, value in result.items() if is_picture(value)}
    return dict(shown)


def _without_pictures(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if not is_picture(value)}


def _dump(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, indent=1, allow_nan=False)
    # A list of numbers is one line: an evaluation has tens of thousands. No JSON string holds a line break.
    text = re.sub(r"\[\n[^][{}\"]*\]", lambda found: " ".join(found[0].split()), text)
    return (text + "\n").encode()


def _module(part: str) -> Any:
    return importlib.import_module(f"..questions.{(PARTS | PICTURES)[part]}", __package__)
