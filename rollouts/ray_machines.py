"""Games on the machines of a Ray cluster: each is played by an actor there; only encoded episodes come back.

Ray is an extra: it is imported when a cluster is asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..envs import GameDiedError
from ..envs.game_process import failure
from ..envs.remote import CLOSE_SECONDS, ERRORS, LOOK_SECONDS, modules_of
from .config import CollectConfig
from .manifest import EpisodeRecord
from .memory import check_workers
from .recording import Recorder, ThisMachine, info_of

LOCAL = "local"  # in place of an address: a cluster of this machine alone
MISSING = "Ray is missing: pip install 'worldmodel[ray]'"
CONNECT_SECONDS = 5.0
PULSE_SECONDS = 1.0
SILENT_SECONDS = 30.0  # after which a worker without a pulse hangs; multiplied with the patience
OBJECT_STORE = 256 << 20  # bytes: an episode a worker is on its way at most
SURROUNDINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # says nothing of what becomes the default some day
    "RAY_enable_metrics_collection": "0",
}

LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # on Linux, too, this keeps Ray off the network
FOLDER = Path("/tmp")  # the names of Ray's sockets are long, and the system's limit is 107 bytes
PREFIX = "wm-ray-"
STARTS = 3  # Ray gives a start half a minute, which is short on a busy machine


class RayWorker:
    """What runs on a machine of the cluster: one game, made anew when it dies. Answers are those of a game's process.

    Several of its methods run at once: `pulse` answers, and `close` ends, while an episode is recorded.
    """

    def __init__(self, config: dict[str, Any], modules: list[str], directory: str) -> None:
        with contextlib.suppress(OSError):  # files named on the command line are found where they are there, too
            os.chdir(directory)
        for module in modules:
            importlib.import_module(module)
        self._config = CollectConfig(**config)
        self._recorder: Recorder | None = None

    def start(self, patience: float) -> tuple[dict[str, Any], bytes]:
        """Make the game and return its description."""
        return self._answer(lambda: ({"info": asdict(self._made(patience).info)}, b""))

    def record(self, index: int, patience: float) -> tuple[dict[str, Any], bytes]:
        """Return the manifest line of an episode, and the content of its file."""

        def play() -> tuple[dict[str, Any], bytes]:
            record, content = self._made(patience).record(index, lambda: None, patience=patience)
            return {"record": asdict(record)}, bytes(content)

        return self._answer(play)

    def pulse(self) -> None:
        """Return after a moment: the process lives."""
        time.sleep(PULSE_SECONDS)

    def close(self) -> None:
        """End the game."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.close()

    def _made(self, patience: float) -> Recorder:
        if self._recorder is None:
            self._recorder = ThisMachine().make_recorder(self._config, patience=patience)
        return self._recorder

    def _answer(self, call: Callable[[], tuple[dict[str, Any], bytes]]) -> tuple[dict[str, Any], bytes]:
        try:
            return call()
        except Exception as error:  # users' games may fail in any way
            if isinstance(error, GameDiedError) and self._recorder is not None and not self._recorder.is_usable():
                self.close()
            return failure(error, self._config.env), b""


class RayRecorder:
    """Records on some machine of the cluster, see Recorder. It waits there for a free core.

    Raises:
        GameDiedError: if the game, its worker or the machine died, or does not answer.
    """

    def __init__(self, ray: Any, config: CollectConfig, *, patience: float, look: Callable[[], None]) -> None:
        self._ray = ray
        self._name = config.env
        self._is_alive, self._patience = False, patience
        actor = ray.remote(num_cpus=1, max_restarts=0, max_concurrency=3)(RayWorker)
        self._actor = actor.remote(asdict(config), modules_of(config.env), os.getcwd())
        try:
            self._wait(self._actor.pulse.remote(), look)  # as long as the cluster is full
            self._is_alive = True
            self._pulse, self._felt = self._actor.pulse.remote(), time.monotonic()
            answer, _ = self._ask(self._actor.start.remote(patience), look)
        except BaseException:
            self.close()
            raise
        self.info = info_of(answer)

    def record(
        self, index: int, look: Callable[[], None], *, patience: float = 1.0
    ) -> tuple[EpisodeRecord, memoryview]:
        """Have an episode recorded, see Recorder."""
        self._patience, self._felt = patience, time.monotonic()
        answer, content = self._ask(self._actor.record.remote(index, patience), look)
        return EpisodeRecord(**answer["record"]), memoryview(content)

    def is_usable(self) -> bool:
        """Whether the worker is there to make another game."""
        return self._is_alive

    def close(self) -> None:
        """End the game, its worker, and what waits for a machine."""
        with contextlib.suppress(Exception):  # a dead worker, or a cluster that is gone
            if self._is_alive:
                self._ray.wait([self._actor.close.remote()], timeout=CLOSE_SECONDS)
            self._ray.kill(self._actor)

    def _ask(self, call: Any, look: Callable[[], None]) -> tuple[dict[str, Any], bytes]:
        def look_and_feel() -> None:
            look()
            self._feel()

        answer, content = self._wait(call, look_and_feel)
        if "error" in answer:
            raise ERRORS[answer["error"]](answer["text"])
        return answer, content

    def _wait(self, call: Any, look: Callable[[], None]) -> Any:
        while not self._ray.wait([call], timeout=LOOK_SECONDS)[0]:
            look()
        try:
            return self._ray.get(call)
        except self._ray.exceptions.RayError as error:
            self._is_alive = False
            raise GameDiedError(f"a worker of the cluster died with the game {self._name}: {_reason(error)}") from None

    def _feel(self) -> None:
        """Raise GameDiedError if the worker has had no pulse for long: it was stopped, or its machine is cut off."""
        if self._ray.wait([self._pulse], timeout=0)[0]:
            self._pulse, self._felt = self._actor.pulse.remote(), time.monotonic()
        elif time.monotonic() - self._felt > SILENT_SECONDS * self._patience:
            self._is_alive = False
            raise GameDiedError(f"a worker of the cluster hung with the game {self._name}: it says nothing any more")


class RayMachines:
    """The machines of a cluster, see Machines."""

    def __init__(self, ray: Any, *, is_local: bool) -> None:
        self._ray = ray
        self._is_local = is_local

    @property
    def num_cores(self) -> int:
        """How many games the cluster plays at once, as it is now."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def check(self, workers: int) -> None:
        """See Machines. More than a cluster has room for wait until there is."""
        if self._is_local:
            check_workers(workers)

    def make_recorder(
        self, config: CollectConfig, *, patience: float = 1.0, look: Callable[[], None] = lambda: None
    ) -> Recorder:
        """See Machines."""
        return RayRecorder(self._ray, config, patience=patience, look=look)


@contextlib.contextmanager
def ray_machines(address: str, *, workers: int) -> Iterator[RayMachines]:
    """Connect to the cluster at `address` ("host:port", "auto"), or start one here ("local"), until the block ends.

    Args:
        workers: how many games a cluster that is started here has room for.

    Raises:
        ValueError: if Ray is not installed.
        OSError: if there is no cluster.
    """
    if importlib.util.find_spec("ray") is None:
        raise ValueError(MISSING)
    if address != LOCAL:
        _check_reachable(address)
    os.environ.update(SURROUNDINGS | (LOOPBACK if address == LOCAL else {}))
    ray = importlib.import_module("ray")
    with contextlib.ExitStack() as stack:
        options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "critical"}
        if address == LOCAL:
            remove_leftovers()
            prefix = f"{PREFIX}{os.getpid()}-"
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix=prefix, dir=FOLDER, ignore_cleanup_errors=True)
            )
            options |= {"num_cpus": workers, "num_gpus": 0, "include_dashboard": False, "_temp_dir": folder}
            options |= {"_node_ip_address": "127.0.0.1", "object_store_memory": OBJECT_STORE}
        stack.enter_context(_connected(ray, options, attempts=STARTS if address == LOCAL else 1))
        yield RayMachines(ray, is_local=address == LOCAL)


@contextlib.contextmanager
def _connected(ray: Any, options: dict[str, Any], *, attempts: int) -> Iterator[None]:
    """Call `ray.init` with `options`, and `ray.shutdown` when the block ends.

    Both in a thread of their own: what Ray starts dies with the thread that started it, also what a failed start left,
    and only in another thread than the main one does Ray leave the process's signal handlers alone.
    """
    with contextlib.ExitStack() as stack:
        for attempt in range(attempts):
            starter = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="ray"))
            stack.callback(lambda mine: mine.submit(ray.shutdown).result(), starter)
            try:
                starter.submit(ray.init, **options).result()
                break
            except Exception as error:  # Ray's own errors have no common class
                stack.close()
                if attempt == attempts - 1:
                    raise OSError(f"no Ray cluster at {options['address']}: {_reason(error)}") from error
        yield


def remove_leftovers() -> None:
    """Remove what clusters left that were started here by processes that are gone."""
    for path in FOLDER.glob(f"{PREFIX}*-*"):
        try:
            os.kill(int(path.name.removeprefix(PREFIX).partition("-")[0]), 0)
        except ProcessLookupError:
            shutil.rmtree(path, ignore_errors=True)
        except (ValueError, OSError):  # not ours
            continue


def _check_reachable(address: str) -> None:
    """Raise OSError if nobody listens at "host:port": Ray would try for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdigit():
        if address != "auto":
            raise ValueError(f'--ray takes "host:port", "auto" or "local", got {address!r}')
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise OSError(f"no Ray cluster at {address}: {error}; start one with: ray start --head") from error


def _reason(error: BaseException) -> str:
    """Return the line of a long error of Ray's that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
