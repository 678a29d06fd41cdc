"""The process that a game lives in: it makes one game and answers reset, step and close over a socket.

A game in a process of its own cannot disturb another one (renderers with global buffers do), is drawn in the thread
that made it, and ends no other process when its engine crashes.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import traceback
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import wire
from .build import build
from .game import Game, GameDiedError
from .processes import die_with


def main(descriptor: int, parent: int) -> None:
    """Serve the game that the first message asks for, until the other side closes the socket."""
    die_with(parent)
    connection = socket.socket(fileno=descriptor)
    with contextlib.suppress(wire.ClosedError), connection:
        settings, _ = wire.receive(connection)
        game = None
        try:
            for module in settings.pop("modules"):
                importlib.import_module(module)
            game = build(**settings)
            answer = {"settings": dict(game.settings), "frames_per_second": game.frames_per_second}
            wire.send(connection, {**answer, "action_names": list(game.action_names)})
        except Exception as error:  # users' games may fail in any way
            wire.send(connection, failure(error, settings["env_id"]))
        if game is not None:
            try:
                _serve(game, connection)
            finally:
                with contextlib.suppress(Exception):
                    game.close()


def _serve(game: Game, connection: socket.socket) -> None:
    while True:
        request, _ = wire.receive(connection)
        try:
            message, frame = _reset(game, request["seed"]) if "seed" in request else _step(game, request["action"])
        except Exception as error:  # users' games may fail in any way
            wire.send(connection, failure(error, game.settings["env"]))
            continue
        if frame is None:
            wire.send(connection, message)
        else:
            wire.send(connection, {**message, "shape": frame.shape}, np.ascontiguousarray(frame).data.cast("B"))


def _reset(game: Game, seed: int) -> tuple[Mapping[str, Any], np.ndarray | None]:
    seed_globals(seed)
    seen = game.reset(seed)
    return {"variables": dict(seen.variables), "walls": seen.walls.tolist()}, seen.frame


def _step(game: Game, action: int) -> tuple[Mapping[str, Any], np.ndarray | None]:
    step = game.step(action)
    ends = {"terminated": step.terminated, "truncated": step.truncated}
    return {"variables": dict(step.variables), "reward": step.reward, **ends}, step.frame


def seed_globals(seed: int) -> None:
    """Seed the global generators, which users' games draw from although they should not: this process is the game's."""
    importlib.import_module("random").seed(seed)
    getattr(np.random, "seed")(seed % 2**32)  # noqa: B009


def failure(error: Exception, env_id: str) -> dict[str, str]:
    """Return what went wrong as a message: the user's mistake, the system's trouble, or a dead engine."""
    if os.environ.get("WORLDMODEL_TRACEBACK"):
        traceback.print_exception(error)
    text = " ".join(str(error).split())
    if isinstance(error, GameDiedError):
        return {"error": "died", "text": text}
    if isinstance(error, ValueError):
        return {"error": "value", "text": text}
    if isinstance(error, OSError | MemoryError):
        return {"error": "system", "text": f"{env_id}: {text or type(error).__name__}"}
    return {"error": "value", "text": f"{env_id}: {type(error).__name__}: {text}"}
