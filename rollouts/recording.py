"""Who records an episode: this process, or one of its own in which the game, its player and the encoder live."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from ..envs import Game
from ..envs.remote import RESET_SECONDS, START_SECONDS, ChildProcess, modules_of
from .config import CollectConfig
from .manifest import DatasetInfo, EpisodeRecord
from .memory import check_workers
from .recorder import play_episode
from .storage import EpisodeEncoder


class Recorder(Protocol):
    """Records episodes of one game."""

    info: DatasetInfo

    def record(
        self, index: int, look: Callable[[], None], *, patience: float = 1.0
    ) -> tuple[EpisodeRecord, memoryview]:
        """Return the manifest line of episode `index` and the content of its file; `look` may raise to give up.

        `patience` is for a game that has to be made anew.
        """

    def is_usable(self) -> bool:
        """Whether another episode can be recorded after the game died."""

    def close(self) -> None:
        """End the game."""


class LocalRecorder:
    """Records a game in this process."""

    def __init__(self, config: CollectConfig, game: Game) -> None:
        self._config = config
        self._game = game
        self.info = describe(config, game)

    def record(
        self, index: int, look: Callable[[], None], *, patience: float = 1.0
    ) -> tuple[EpisodeRecord, memoryview]:
        """Play and encode an episode, see Recorder."""
        seed = self._config.episode_seed(index)
        encoder = EpisodeEncoder(index, seed, info=self.info)
        for moment in play_episode(self._game, seed, policy=self._config.policy, policy_seed=self._config.seed):
            look()
            if moment.frame is not None:
                encoder.add(moment.frame, moment.variables, action=moment.action, reward=moment.reward)
            elif moment.action is not None:
                encoder.end(moment.action, moment.reward)
        return encoder.encode(terminated=moment.terminated, truncated=moment.truncated)

    def is_usable(self) -> bool:
        """A game in this process is replaced together with its recorder."""
        return False

    def close(self) -> None:
        """End the game."""
        self._game.close()


class RemoteRecorder:
    """Records in a process of its own: only encoded episodes cross the line, not frames."""

    def __init__(self, config: CollectConfig, *, patience: float, look: Callable[[], None] = lambda: None) -> None:
        self._child = ChildProcess("worldmodel.rollouts.recorder_process", name=config.env, patience=patience)
        request = {"config": asdict(config), "patience": patience, "modules": modules_of(config.env)}
        try:
            answer, _ = self._child.ask(request, START_SECONDS, look=look)
        except BaseException:
            self.close()
            raise
        self.info = info_of(answer)

    @property
    def pid(self) -> int:
        """The id of the game's process."""
        return self._child.pid

    def record(
        self, index: int, look: Callable[[], None], *, patience: float = 1.0
    ) -> tuple[EpisodeRecord, memoryview]:
        """Have an episode recorded, see Recorder."""
        answer, content = self._child.ask({"index": index, "patience": patience}, RESET_SECONDS, look=look)
        return EpisodeRecord(**answer["record"]), memoryview(content)

    def is_usable(self) -> bool:
        """Whether the process is there to make another game."""
        return self._child.answers

    def close(self) -> None:
        """End the game and its process."""
        self._child.close()


class Machines(Protocol):
    """Where games are played: this machine, or several."""

    def check(self, workers: int) -> None:
        """Raise ValueError if there is no room for so many games at once."""

    def make_recorder(self, config: CollectConfig, *, patience: float, look: Callable[[], None]) -> Recorder:
        """Return who records `config`; `look` is called now and then and may raise to give up.

        Raises:
            ValueError: if the game cannot be made.
            OSError: if the system has no room for it.
            GameDiedError: if it died on its start.
        """


class ThisMachine:
    """Games of this machine, each in a process of its own."""

    def check(self, workers: int) -> None:
        """See Machines."""
        check_workers(workers)

    def make_recorder(
        self, config: CollectConfig, *, patience: float = 1.0, look: Callable[[], None] = lambda: None
    ) -> Recorder:
        """See Machines."""
        if config.needs_process:
            return RemoteRecorder(config, patience=patience, look=look)
        game = config.make_game(patience=patience)
        try:
            return LocalRecorder(config, game)
        except BaseException:
            with contextlib.suppress(Exception):
                game.close()
            raise


def info_of(answer: Mapping[str, Any]) -> DatasetInfo:
    """Return the description that a recorder's message holds."""
    return DatasetInfo(**{**answer["info"], "variables": tuple(answer["info"]["variables"])})


def describe(config: CollectConfig, game: Game) -> DatasetInfo:
    """Return what a data set recorded from `game` says about itself."""
    return DatasetInfo(
        settings=game.settings,
        frames_per_second=game.frames_per_second,
        variables=tuple(game.reset(config.episode_seed(0)).variables),
        policy=config.policy,
        split=config.split,
        seed=config.seed,
    )
