"""The process that records episodes of one game: it makes the game, plays it, and answers with encoded episodes."""

from __future__ import annotations

import contextlib
import importlib
import socket
import time
from dataclasses import asdict

from ..envs import wire
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
        config = CollectConfig(**request["config"])
        recorder = None
        try:
            for module in request["modules"]:
                importlib.import_module(module)
            recorder = LocalRecorder(config, config.make_game(patience=request["patience"], own_process=False))
            wire.send(connection, {"info": asdict(recorder.info)})
        except Exception as error:  # users' games may fail in any way
            wire.send(connection, failure(error, config.env))
        if recorder is not None:
            try:
                _serve(recorder, config, connection)
            finally:
                with contextlib.suppress(Exception):
                    recorder.close()


def _serve(recorder: LocalRecorder, config: CollectConfig, connection: socket.socket) -> None:
    while True:
        request, _ = wire.receive(connection)
        look = _Heartbeat(connection)
        try:
            seed_globals(config.episode_seed(request["index"]))
            record, content = recorder.record(request["index"], look)
        except wire.ClosedError:
            raise
        except Exception as error:  # users' games may fail in any way
            wire.send(connection, failure(error, config.env))
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
