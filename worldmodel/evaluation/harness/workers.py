"""Processes that ask several questions at once: each takes the longest one that is left and reports its progress.

An answer travels through the file that keeps it, so what is finished is kept whatever happens to a process or to this
one. A process that dies takes the question with it that it was asking; another one goes on with what is left.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from .run import AskError, Kept, OnProgress, Question, ask
from .subject import Subject
from .tokenizer_alone import TokenizerSubject

# Questions by how long they take, the longest first; questions that are not listed come before them.
LONGEST_FIRST = (
    "fidelity",
    "stability",
    "control",
    "idle",
    "likelihood",
    "there_and_back",
    "indistinguishability",
    "full_circle",
    "tokenizer",
    "changes",
    "strips",
)
THREADS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # of each process, whatever this one has

MakeSubject = Callable[[], Subject | TokenizerSubject]


@dataclass
class _Worker:
    """A process, the way to talk with it, and what it is asking."""

    process: BaseProcess
    pipe: Connection
    question: Question


class Workers:
    """Up to `number` processes that ask questions.

    Args:
        make_subject: makes in each process what is asked about. It is pickled: a function of a module, or a `partial`.
        number: of processes, at least 1.
    """

    def __init__(self, make_subject: MakeSubject, number: int) -> None:
        self._make_subject = make_subject
        self._number = number
        self._workers: list[_Worker] = []

    def ask(self, questions: Sequence[Question], on_progress: OnProgress) -> Iterator[tuple[Question, Kept | AskError]]:
        """Yield each question with its answer, or why there is none, as they come.

        No process is left when this ends, in whatever way.
        """
        left = sorted(questions, key=_rank)
        try:
            while left or self._workers:
                while left and len(self._workers) < self._number:
                    self._workers.append(_start(self._make_subject, left.pop(0)))
                for worker in self._ready():
                    found = _hear(worker, on_progress)
                    if found is None:
                        continue
                    question = worker.question
                    if not (left and _is_well(worker) and _give(worker, left)):
                        self._workers.remove(worker)
                        _end(worker)
                    yield question, found
        finally:
            for worker in self._workers:
                worker.process.kill()
            while self._workers:
                _end(self._workers.pop())

    def _ready(self) -> list[_Worker]:
        ready = wait([worker.pipe for worker in self._workers])
        return [worker for worker in self._workers if worker.pipe in ready]


def _rank(question: Question) -> int:
    return LONGEST_FIRST.index(question.name) if question.name in LONGEST_FIRST else -1


def _start(make_subject: MakeSubject, question: Question) -> _Worker:
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, make_subject, question), daemon=True)
    with _environment(THREADS), _ignoring_interrupts():
        process.start()
    theirs.close()  # its end is then the end of the pipe
    return _Worker(process=process, pipe=ours, question=question)


def _hear(worker: _Worker, on_progress: OnProgress) -> Kept | AskError | None:
    """Return what has become of a worker's question; None if it is still being asked."""
    try:
        news = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        return AskError(f"the process that asked it {_death(worker.process.exitcode or 0)}")
    if isinstance(news, tuple):
        on_progress(worker.question.name, *news)
        return None
    if isinstance(news, str):
        return AskError(news)
    return worker.question.kept() or AskError(f"{worker.question.file} is gone")


def _death(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"died with exit code {code}"


def _is_well(worker: _Worker) -> bool:
    return not worker.pipe.closed and worker.process.exitcode is None


def _give(worker: _Worker, left: list[Question]) -> bool:
    """Give a process the next question; False if it is not there any more."""
    try:
        worker.pipe.send(left[0])
    except OSError:
        return False
    worker.question = left.pop(0)
    return True


def _end(worker: _Worker) -> None:
    worker.pipe.close()  # it takes that for the end of its work
    worker.process.join()
    worker.process.close()


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Set what a process that is started inherits."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """A process that is started ignores Ctrl-C, which reaches all processes of a terminal: this one ends the others."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _work(pipe: Connection, make_subject: MakeSubject, question: Question) -> None:
    """Ask `question`, and those that come through `pipe` after it, until the pipe is closed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        subject = make_subject()
        while True:
            try:
                ask(question, subject, lambda done, total: pipe.send((done, total)))
                news = None
            except (BrokenPipeError, ConnectionResetError):
                raise
            except (ValueError, OSError, RuntimeError) as error:  # the others can still be asked
                news = " ".join(str(error).split()) or type(error).__name__
            pipe.send(news)
            question = pipe.recv()


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, however it died."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
