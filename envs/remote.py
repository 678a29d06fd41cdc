"""Games in processes of their own, supervised: one that crashes or hangs is a GameDiedError."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from . import wire
from .build import is_vizdoom
from .game import GameDiedError, Observation, Step
from .processes import process_state
from .vizdoom.supervision import remove_leftovers_of

CHILD = """
import importlib, json, sys
sys.path[:] = json.loads(sys.argv[1])
try:
    main = importlib.import_module(sys.argv[2]).main
except (ImportError, OSError, MemoryError) as error:
    sys.exit(f"a game's process cannot start: {error or type(error).__name__}")
main(int(sys.argv[3]), int(sys.argv[4]))
"""
# A game may take its time; one that says nothing for so long hangs. Each is multiplied with the patience.
START_SECONDS = 90.0
RESET_SECONDS = 60.0
STEP_SECONDS = 20.0
CLOSE_SECONDS = 3.0
LOOK_SECONDS = 0.2  # how often a silent process is looked at
BUFFER = 1 << 20  # bytes of the socket: a frame is sent at once
MAX_PATIENCE = 8.0
# A game plays no sound, prints no greeting, and is one of several on the machine.
SURROUNDINGS = {
    "SDL_AUDIODRIVER": "dummy",
    "PYGAME_HIDE_SUPPORT_PROMPT": "1",
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
NO_SCREEN = {"SDL_VIDEODRIVER": "offscreen"}  # not "dummy", with which highway-env draws nothing
ERRORS = {"value": ValueError, "system": OSError, "died": GameDiedError}


class ChildProcess:
    """A process that runs `main` of a module of ours, is asked over a socket, and dies with this one.

    Args:
        module: whose `main(descriptor, parent)` it runs.
        name: of the game, for messages.
        patience: factor on the times after which it counts as hung.

    Raises:
        OSError: if the system cannot start it.
    """

    def __init__(self, module: str, *, name: str, patience: float) -> None:
        self.name = name
        self.answers = True  # whether it has answered its last request
        self._patience = min(patience, MAX_PATIENCE)
        self._connection, theirs = socket.socketpair()
        with theirs:
            for end in (self._connection, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            try:
                # A child dies with the thread that started it, so that is one that lives as long as this process.
                self._process = _spawner().submit(_start, module, theirs.fileno()).result()
            except BaseException:
                self._connection.close()
                raise
        self._poll = select.poll()
        self._poll.register(self._connection, select.POLLIN)

    @property
    def pid(self) -> int:
        """The id of the game's process."""
        return self._process.pid

    def ask(
        self, request: Mapping[str, Any], seconds: float, *, look: Callable[[], None] = lambda: None
    ) -> tuple[dict[str, Any], bytearray]:
        """Send a request and return the answer.

        Args:
            seconds: after which a silent process hangs; it may say that it is alive.
            look: is called now and then while it is silent, and may raise to give up.

        Raises:
            GameDiedError: if the process died, was stopped, or hangs.
            ValueError: if the game failed.
            OSError: if the system refused something to it.
        """
        self.answers = False
        try:
            wire.send(self._connection, request)
            while True:
                deadline = time.monotonic() + seconds * self._patience
                answer, content = wire.receive(self._connection, lambda end=deadline: self._wait(end, look))  # type: ignore[misc]
                if answer != wire.ALIVE:
                    break
        except wire.ClosedError:
            raise GameDiedError(f"the game {self.name} died{self._how()}") from None
        self.answers = True
        if "error" in answer:
            raise ERRORS[answer["error"]](answer["text"])
        return answer, content

    def close(self) -> None:
        """End the game's process and remove what it left."""
        if self._connection.fileno() >= 0:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_WR)
                select.select([self._connection], [], [], 0 if self._is_stopped() else CLOSE_SECONDS)
            self._connection.close()
        try:
            self._process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if is_vizdoom(self.name):
            remove_leftovers_of(self.pid)

    def _wait(self, deadline: float, look: Callable[[], None]) -> None:
        """Return when there is something to read."""
        while not self._poll.poll(1000 * LOOK_SECONDS):
            look()
            if self._is_stopped():
                raise GameDiedError(f"the game {self.name} was stopped")
            if time.monotonic() > deadline:
                raise GameDiedError(f"the game {self.name} hung: it says nothing any more")

    def _is_stopped(self) -> bool:
        return process_state(self.pid) == "T"

    def _how(self) -> str:
        """Say how the process ended."""
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return ""
        return f" of {signal.Signals(-code).name}" if code < 0 else f" with exit code {code}"


class RemoteGame:
    """The game that `settings`, the arguments of `build`, describe, in a process of its own.

    Args:
        settings: what the process is to build, as JSON values.

    Raises:
        ValueError: if the game cannot be made like this.
        OSError: if the system cannot start it.
        GameDiedError: if it died on its start, or hangs.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        name = str(settings["env_id"])
        self._child = ChildProcess("worldmodel.envs.game_process", name=name, patience=float(settings["patience"]))
        try:
            made, _ = self._child.ask({**settings, "modules": modules_of(name)}, START_SECONDS)
        except BaseException:
            self.close()
            raise
        self.settings: Mapping[str, Any] = made["settings"]
        self.action_names = tuple(made["action_names"])
        self.frames_per_second = float(made["frames_per_second"])

    @property
    def pid(self) -> int:
        """The id of the game's process."""
        return self._child.pid

    def reset(self, seed: int) -> Observation:
        """Start the episode of `seed`.

        Raises:
            GameDiedError: if the game died or hung.
            ValueError: if the game failed.
        """
        answer, content = self._child.ask({"seed": int(seed)}, RESET_SECONDS)
        frame = _frame(answer, content)
        assert frame is not None
        return Observation(frame=frame, variables=answer["variables"], walls=np.array(answer["walls"]).reshape(-1, 4))

    def step(self, action: int) -> Step:
        """Do `action_names[action]`.

        Raises:
            GameDiedError: if the game died or hung.
            ValueError: if the game failed.
        """
        answer, content = self._child.ask({"action": int(action)}, STEP_SECONDS)
        return Step(
            frame=_frame(answer, content),
            reward=answer["reward"],
            terminated=answer["terminated"],
            truncated=answer["truncated"],
            variables=answer["variables"],
        )

    def close(self) -> None:
        """End the game's process and remove what it left."""
        self._child.close()


@cache
def _spawner() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="game-spawner")


def _start(module: str, descriptor: int) -> subprocess.Popen[bytes]:
    paths = [path or os.getcwd() for path in sys.path]
    words = [sys.executable, "-P", "-W", "ignore", "-c", CHILD, json.dumps(paths), module]
    words += [str(descriptor), str(os.getpid())]
    has_screen = sys.platform != "linux" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    surroundings = SURROUNDINGS if has_screen else SURROUNDINGS | NO_SCREEN
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=2,  # what a game prints is a message, not data
        env={**surroundings, **os.environ, "PYTHONHASHSEED": "0"},
        pass_fds=(descriptor,),
        start_new_session=True,  # Ctrl-C in the terminal is for this process alone
    )


def modules_of(env_id: str) -> list[str]:
    """Return the module whose import registers `env_id`, where this process knows it from such a one."""
    gymnasium = sys.modules.get("gymnasium")
    spec = gymnasium.registry.get(env_id) if gymnasium is not None else None
    if spec is None or not callable(spec.entry_point) or spec.entry_point.__module__ == "__main__":
        return []
    return [str(spec.entry_point.__module__)]


def _frame(answer: Mapping[str, Any], content: bytearray) -> np.ndarray | None:
    return np.frombuffer(content, np.uint8).reshape(answer["shape"]) if "shape" in answer else None
