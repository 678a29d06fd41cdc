"""Threads that record episodes, each with a game of its own, and hand the results over in order."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType

from ..envs import Game, GameDiedError
from .config import CollectConfig
from .manifest import DatasetInfo, EpisodeRecord
from .recorder import play_episode
from .storage import EpisodeEncoder, adopt_episode

ATTEMPTS = 6  # for one episode, each with twice the patience of the one before
AHEAD = 8  # episodes a worker: how far the others may get ahead of a slow one


class Crew:
    """Records the episodes `first`, `first + 1`, ... into `path` until its `with` block ends.

    Args:
        game: a game that is already there; the first worker plays and closes it.
    """

    def __init__(
        self, config: CollectConfig, path: Path, *, info: DatasetInfo, first: int, game: Game, workers: int
    ) -> None:
        self._config = config
        self._path = path
        self._info = info
        self._first = first
        self._numbers = itertools.count(first)  # next() of it is atomic
        self._ahead = threading.Semaphore(AHEAD * workers)
        self._results: queue.SimpleQueue[tuple[int, EpisodeRecord | Exception]] = queue.SimpleQueue()
        self._stop = threading.Event()
        games = [game, *[None] * (workers - 1)]
        self._threads = [threading.Thread(target=self._work, args=(mine,), name="recorder") for mine in games]

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

    def _work(self, game: Game | None) -> None:
        with closing(_Player(self._config, game, stopped=self._stop.is_set)) as player:
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
        return adopted or player.record(index, self._path, info=self._info)


class _Player:
    """One worker's game. One that dies or hangs is replaced and its episode played anew: same seed, same frames."""

    def __init__(self, config: CollectConfig, game: Game | None, *, stopped: Callable[[], bool]) -> None:
        self._config = config
        self._game = game
        self._stopped = stopped

    def record(self, index: int, path: Path, *, info: DatasetInfo) -> EpisodeRecord | None:
        """Write episode `index` and return its manifest line, None if the crew was stopped meanwhile."""
        for attempt in range(ATTEMPTS):
            try:
                if self._game is None:
                    self._game = self._config.make_game(patience=2.0**attempt)
                return self._play(self._game, index, path, info)
            except GameDiedError as error:
                self.close()
                if attempt == ATTEMPTS - 1:
                    raise GameDiedError(f"the game died {ATTEMPTS} times in episode {index}: {error}") from error
        return None

    def _play(self, game: Game, index: int, path: Path, info: DatasetInfo) -> EpisodeRecord | None:
        seed = self._config.episode_seed(index)
        encoder = EpisodeEncoder(index, seed, info=info)
        for moment in play_episode(game, seed, policy=self._config.policy, policy_seed=self._config.seed):
            if self._stopped():
                return None
            if moment.frame is not None:
                encoder.add(moment.frame, moment.variables, action=moment.action, reward=moment.reward)
            elif moment.action is not None:
                encoder.end(moment.action, moment.reward)
        return encoder.write(path, terminated=moment.terminated, truncated=moment.truncated)

    def close(self) -> None:
        """Close the game; the next episode starts another."""
        if self._game is not None:
            self._game.close()
            self._game = None
