"""Several processes give the answers that one gives, lose no more than the part that one dies of, and leave nobody."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.worlds import record_toy, save_simulator
from worldmodel.evaluation.answers import Answer, Scalar
from worldmodel.evaluation.harness import run
from worldmodel.evaluation.harness.run import AskError, Kept, Listener, Question, evaluate
from worldmodel.evaluation.harness.subject import Subject
from worldmodel.evaluation.harness.workers import Workers, _environment
from worldmodel.rollouts import EpisodeDataset
from worldmodel.simulator import Simulator


def make_subject(checkpoint: Path, data: Path) -> Subject:
    """The toy world and a tiny model, asked as briefly as can be."""
    simulator = Simulator.from_pretrained(checkpoint, precision="float32")
    return Subject(simulator=simulator, dataset=EpisodeDataset(data), num_clips=4, context=3, quick=True)


def test_two_processes_give_the_answers_of_one(tmp_path: Path) -> None:
    """Bit for bit, pictures too; each part tells how it goes, and the metrics have them in the usual order."""
    checkpoint, data = save_simulator(tmp_path / "c"), record_toy(tmp_path / "d")
    subject, questions = make_subject(checkpoint, data), ["tokenizer", "likelihood"]
    reported: list[str] = []
    listener = Listener(on_progress=lambda name, done, total: reported.append(name))
    workers = Workers(partial(make_subject, checkpoint, data), 2)
    together = evaluate(subject, checkpoint, Path("two"), questions=questions, listener=listener, workers=workers)
    alone = evaluate(subject, checkpoint, Path("one"), questions=questions)
    assert together.metrics["failures"] == alone.metrics["failures"] == {}
    assert json.dumps(together.metrics["answers"]) == json.dumps(alone.metrics["answers"])
    assert together.answers == alone.answers
    assert list(together.metrics["answers"]) == questions
    assert set(reported) == {*questions, "strips"}


ANSWER = Answer(scalars={"number": Scalar(1.5)})


def pretend() -> Any:
    """In a process of the workers: parts that fail, die or answer, in place of all others."""
    if "fails" not in run.QUESTIONS:
        measures = {"answers": lambda: ANSWER, "fails": _fail, "dies": lambda: os.kill(os.getpid(), 9)}
        for name, measure in measures.items():
            module = types.ModuleType(f"worldmodel.evaluation.questions.{name}")
            module.measure = lambda subject, report, measure=measure: measure()  # type: ignore[attr-defined]
            sys.modules[module.__name__] = module
        run.QUESTIONS.update({name: name for name in (*measures, "answers too")}, **{"answers too": "answers"})


def _fail() -> None:
    raise ValueError("no engine")


@pytest.mark.slow
def test_what_goes_wrong_in_a_part_is_its_own(tmp_path: Path) -> None:
    """A part that cannot be asked, and one that takes its process along, are said; the others answer."""
    questions = [
        Question(name=name, key="k", file=tmp_path / f"{name}.json")
        for name in ("dies", "fails", "answers", "answers too")
    ]
    found = {question.name: answer for question, answer in Workers(pretend, 1).ask(questions, lambda *_: None)}
    assert str(found["dies"]) == "the process that asked it was killed by SIGKILL"
    assert str(found["fails"]) == "no engine"
    for name in ("answers", "answers too"):
        kept = found[name]
        assert isinstance(kept, Kept)
        assert kept.answer == ANSWER
    assert isinstance(found["dies"], AskError)


@pytest.fixture
def interrupts_are_heard() -> Iterator[None]:
    """Programs that are started here hear Ctrl-C, also where this one runs in the background of a shell."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.slow
@pytest.mark.usefixtures("interrupts_are_heard")
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGKILL, -9, "")],
)
def test_a_stopped_command_leaves_no_process(tmp_path: Path, number: int, code: int, word: str) -> None:
    """Ctrl-C reaches all processes of a terminal, SIGTERM and SIGKILL only the first: what is finished is kept, one
    line says so where anything can, and nobody is left."""
    checkpoint, data = save_simulator(tmp_path / "c"), record_toy(tmp_path / "d")
    words = ["--checkpoint", checkpoint, "--data", data, "--set", "context=3", "--set", "processes=2", "--out", "out"]
    command = [sys.executable, "-P", "-m", "worldmodel", "evaluate", "--only", "tokenizer,control", *map(str, words)]
    kept = Path("out/answers/tokenizer.json")
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        deadline = time.monotonic() + 120
        while not kept.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert parent.poll() is None
        if number == signal.SIGINT:
            os.killpg(parent.pid, number)
        else:
            parent.send_signal(number)
        _, error = parent.communicate(timeout=60)
    assert kept.exists()
    assert parent.returncode == code
    assert not word or error.splitlines()[-1] == f"worldmodel evaluate: {word}"
    assert "Traceback" not in error
    deadline = time.monotonic() + 30
    while _exists(parent.pid) and time.monotonic() < deadline:  # multiprocessing's own helper needs a moment to go
        time.sleep(0.05)
    assert not _exists(parent.pid)


def _exists(group: int) -> bool:
    """Whether a process group has a process."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process inherits is set only while it is started."""
    monkeypatch.setenv("SET", "before")
    monkeypatch.delenv("UNSET", raising=False)
    with _environment({"SET": "during", "UNSET": "during"}):
        assert os.environ["SET"] == os.environ["UNSET"] == "during"
    assert os.environ["SET"] == "before"
    assert "UNSET" not in os.environ
