"""Threads that have episodes recorded, each by a game of its own, and hand the results over in order."""

from __future__ import annotations

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
from .recording import Recorder, make_recorder
from .storage import adopt_episode

ATTEMPTS = 6  # for one episode, each with twice the patience of the one before
AHEAD = 8  # episodes a worker: how far the others may get ahead of a slow one


class Crew:
    """Records the episodes `first`, `first + 1`, ... into `path` until its `with` block ends.

    Args:
        recorder: one that is already there; the first worker uses and closes it.
    """

    def __init__(
        self, config: CollectConfig, path: Path, *, info: DatasetInfo, first: int, recorder: Recorder, workers: int
    ) -> None:
        self._config = config
        self._path = path
        self._info = info
        self._first = first
        self._numbers = itertools.count(first)  # next() of it is atomic
        self._ahead = threading.Semaphore(AHEAD * workers)
        self._results: queue.SimpleQueue[tuple[int, EpisodeRecord | Exception]] = queue.SimpleQueue()
        self._stop = threading.Event()
        recorders = [recorder, *[None] * (workers - 1)]
        self._threads = [threading.Thread(target=self._work, args=(mine,), name="recorder") for mine in recorders]

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
        for index in itertools.count(self._first):
            while index not in finished:
                number, result = self._results.get()
                if isinstance(result, Exception):
                    raise result
                finished[number] = result
            self._ahead.release()
            yield finished.pop(index)

    def _work(self, recorder: Recorder | None) -> None:
        with closing(_Player(self._config, recorder, stopped=self._stop.is_set)) as player:
            while True:
                self._ahead.acquire()
                if self._stop.is_set():
                    return
                index = next(self._numbers)
                try:
                    record = self._record(index, player)
                except MemoryError:
                    self._results.put((index, OSError("out of memory; use fewer workers")))
                    return
                except Exception as error:
                    self._results.put((index, error))
                    return
                if record is not None:
                    self._results.put((index, record))

    def _record(self, index: int, player: _Player) -> EpisodeRecord | None:
        adopted = adopt_episode(self._path, index, info=self._info)
        return adopted or player.record(index, self._path)


class _Player:
    """One worker's recorder. One that dies or hangs is replaced and its episode played anew: same seed, same frames."""

    def __init__(self, config: CollectConfig, recorder: Recorder | None, *, stopped: Callable[[], bool]) -> None:
        self._config = config
        self._recorder = recorder
        self._stopped = stopped

    def record(self, index: int, path: Path) -> EpisodeRecord | None:
        """Write episode `index` and return its manifest line, None if the crew was stopped meanwhile."""
        for attempt in range(ATTEMPTS):
            try:
                if self._recorder is None:
                    self._recorder = make_recorder(self._config, patience=2.0**attempt)
                record, content = self._recorder.record(index, self._look, patience=2.0**attempt)
                write_atomically(path / record.file, content)
                return record
            except _StoppedError:
                return None
            except GameDiedError as error:
                if self._recorder is not None and not self._recorder.is_usable():
                    self.close()
                if attempt == ATTEMPTS - 1:
                    raise GameDiedError(f"the game died {ATTEMPTS} times in episode {index}: {error}") from error
        return None

    def _look(self) -> None:
        if self._stopped():
            raise _StoppedError

    def close(self) -> None:
        """End the game; the next episode starts another."""
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None


class _StoppedError(Exception):
    """Nobody wants the episode any more."""
