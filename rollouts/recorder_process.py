"""The process that records episodes of one game: it makes the game, plays it, and answers with encoded episodes."""

from __future__ import annotations

import contextlib
import importlib
import socket
import time
from dataclasses import asdict

from ..envs import GameDiedError, wire
from ..envs.game_process import failure, seed_globals
from ..envs.processes import die_with
from .config import CollectConfig
from .recording import LocalRecorder

ALIVE_SECONDS = 1.0  # so often a long episode says that it goes on


def main(descriptor: int, parent: int) -> None:
    """Serve the game that the first message describes, until the other side closes the socket."""
    die_with(parent)
    connection = socket.socket(fileno=descriptor)
    with contextlib.suppress(wire.ClosedError), connection:
        request, _ = wire.receive(connection)
        games = _Games(CollectConfig(**request["config"]))
        try:
            for module in request["modules"]:
                importlib.import_module(module)
            wire.send(connection, {"info": asdict(games.recorder(request["patience"]).info)})
            _serve(games, connection)
        except wire.ClosedError:
            raise
        except Exception as error:  # users' games may fail in any way
            wire.send(connection, failure(error, games.config.env))
        finally:
            games.close()


class _Games:
    """The game that is recorded, made anew when it died."""

    def __init__(self, config: CollectConfig) -> None:
        self.config = config
        self._recorder: LocalRecorder | None = None

    def recorder(self, patience: float) -> LocalRecorder:
        """Return who records the game."""
        if self._recorder is None:
            self._recorder = LocalRecorder(self.config, self.config.make_game(patience=patience, own_process=False))
        return self._recorder

    def close(self) -> None:
        """End the game; the next episode starts another."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            with contextlib.suppress(Exception):
                recorder.close()


def _serve(games: _Games, connection: socket.socket) -> None:
    while True:
        request, _ = wire.receive(connection)
        index = request["index"]
        try:
            recorder = games.recorder(request["patience"])
            seed_globals(games.config.episode_seed(index))
            record, content = recorder.record(index, _Heartbeat(connection))
        except wire.ClosedError:
            raise
        except Exception as error:  # users' games may fail in any way
            if isinstance(error, GameDiedError):
                games.close()
            wire.send(connection, failure(error, games.config.env))
            continue
        wire.send(connection, {"record": asdict(record)}, content)


class _Heartbeat:
    """Tells the other side now and then that the episode goes on."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._said = time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._said > ALIVE_SECONDS:
            self._said = time.monotonic()
            wire.send(self._connection, wire.ALIVE)
