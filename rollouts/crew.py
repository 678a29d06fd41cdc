"""Threads that have episodes recorded, each by a game of its own, and hand the results over in order."""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType

from ..envs import GameDiedError
from .config import CollectConfig
from .manifest import DatasetInfo, EpisodeRecord, write_atomically
from .recording import Machines, Recorder
from .storage import adopt_episode

ATTEMPTS = 6  # for one episode or one start, each with twice the patience of the one before
AHEAD = 8  # episodes a worker: how far the others may get ahead of a slow one


class Crew:
    """Records the episodes `first`, `first + step`, ... into `path` until its `with` block ends.

    Args:
        recorder: one that is already there; the first worker uses and closes it.
        machines: which make the other recorders.
    """

    def __init__(
        self,
        config: CollectConfig,
        path: Path,
        *,
        info: DatasetInfo,
        first: int,
        step: int,
        recorder: Recorder,
        machines: Machines,
        workers: int,
    ) -> None:
        self._path = path
        self._info = info
        self._order = itertools.count(first, step)
        self._todo = _Todo(itertools.count(first, step))
        self._ahead = threading.Semaphore(AHEAD * workers)
        self._results: queue.SimpleQueue[EpisodeRecord | Exception] = queue.SimpleQueue()
        self._stop = threading.Event()
        players = [_Player(config, mine, machines, look=self._look) for mine in [recorder, *[None] * (workers - 1)]]
        self._threads = [threading.Thread(target=self._work, args=(player,), name="recorder") for player in players]

    def __enter__(self) -> Crew:
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise OSError(f"{len(self._threads)} workers cannot be started ({error}); use fewer") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._ahead.release(len(self._threads))
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def records(self) -> Iterator[EpisodeRecord]:
        """Yield the manifest lines of finished episodes in the order of their numbers, for ever.

        Raises:
            OSError: if an episode could not be written.
            GameDiedError: if the game died in all attempts at an episode.
            ValueError: if the split has no seed left.
        """
        finished: dict[int, EpisodeRecord] = {}
        for number in self._order:
            while number not in finished:
                result = self._results.get()
                if isinstance(result, Exception):
                    raise result
                finished[result.index] = result
            self._ahead.release()
            yield finished.pop(number)

    def _work(self, player: _Player) -> None:
        try:
            with closing(player):
                while True:
                    player.prepare()
                    self._ahead.acquire()
                    self._look()
                    self._record_next(player)
        except _StoppedError:
            pass
        except MemoryError:
            self._results.put(OSError("out of memory; use fewer workers"))
        except Exception as error:
            self._results.put(error)

    def _record_next(self, player: _Player) -> None:
        """Record the first episode that nobody has taken; if the game dies, anybody may take it again."""
        number, attempt = self._todo.take()
        try:
            record = adopt_episode(self._path, number, info=self._info)
            self._results.put(record or player.record(number, self._path, info=self._info, attempt=attempt))
        except GameDiedError as error:
            if attempt + 1 == ATTEMPTS:
                raise GameDiedError(f"the game died {ATTEMPTS} times in episode {number}: {error}") from error
            self._todo.give_back(number, attempt + 1)
            self._ahead.release()

    def _look(self) -> None:
        if self._stop.is_set():
            raise _StoppedError


class _Todo:
    """The episodes that nobody has taken, the first ones first, and how often each was tried."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers = numbers
        self._again: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def take(self) -> tuple[int, int]:
        """Return the number of an episode, and how often it was tried."""
        with self._lock:
            return heapq.heappop(self._again) if self._again else (next(self._numbers), 0)

    def give_back(self, number: int, attempts: int) -> None:
        """Let an episode that was tried so often be taken again."""
        with self._lock:
            heapq.heappush(self._again, (number, attempts))


class _Player:
    """One worker's recorder. One that dies or hangs is replaced."""

    def __init__(
        self, config: CollectConfig, recorder: Recorder | None, machines: Machines, *, look: Callable[[], None]
    ) -> None:
        self._config = config
        self._recorder = recorder
        self._machines = machines
        self._look = look

    def prepare(self) -> None:
        """Start a recorder if there is none: no episode waits for a worker that waits for a machine."""
        if self._recorder is None:
            self._recorder = start_recorder(self._config, self._machines, look=self._look)

    def record(self, number: int, path: Path, *, info: DatasetInfo, attempt: int) -> EpisodeRecord:
        """Write episode `number` and return its manifest line: the same seed gives the same frames in any attempt."""
        assert self._recorder is not None
        if self._recorder.info != info:
            raise ValueError(f"the machines differ: {self._recorder.info.settings} on one, {info.settings} on another")
        try:
            record, content = self._recorder.record(number, self._look, patience=2.0**attempt)
        except GameDiedError:
            if not self._recorder.is_usable():
                self.close()
            raise
        write_atomically(path / record.file, content)
        return record

    def close(self) -> None:
        """End the game; the next episode starts another."""
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None


def start_recorder(config: CollectConfig, machines: Machines, *, look: Callable[[], None] = lambda: None) -> Recorder:
    """Return a new recorder, started anew if its game dies; `look` may raise to give up.

    Raises:
        GameDiedError: if the game died in all attempts.
    """
    for attempt in range(ATTEMPTS):
        try:
            return machines.make_recorder(config, patience=2.0**attempt, look=look)
        except GameDiedError as error:
            died = error
    raise GameDiedError(f"the game died {ATTEMPTS} times at its start: {died}")


class _StoppedError(Exception):
    """Nobody wants the episode any more."""
