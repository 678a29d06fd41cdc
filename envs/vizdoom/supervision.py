"""Keeps engine processes in order: a private directory each, a watchdog against hangs, and a sweep of leftovers."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ..processes import process_state

PREFIX = "worldmodel-engine-"
SHARED_MEMORY = Path("/dev/shm")
LOOK_SECONDS = 0.1  # how often the watchdog looks
NEEDED_SHARED_MEMORY = 12 << 20  # bytes: what an engine puts there
UNLOCK_SECONDS = 1.0  # takes 10 ms
FORGOTTEN_SECONDS = 3600.0  # leftovers whose directory is gone, too: of other programs that use ViZDoom, say
LAUNCHER = Path(__file__).with_name("engine_launcher.py")


class EngineDirectory:
    """A private working directory of one engine. Two engines in one directory race on `_vizdoom/`; one segfaults.

    Attributes:
        path: the directory.
        command: an executable to start in place of `engine`: it runs the engine here and dies with this process.
    """

    def __init__(self, engine: str) -> None:
        _check_room()
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self.command = self.path / "engine"
        words = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(self.path), engine]
        # The arguments name the shared memory, which is there already: they are written first of all.
        arguments = shlex.quote(str(self.path / "arguments"))
        self.command.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {arguments}\nexec {shlex.join(words)} "$@"\n')
        self.command.chmod(0o700)
        if not os.access(self.command, os.X_OK):
            _remove_leftovers(self.path)
            raise OSError(
                f"no program may be started in {self.path.parent} (mounted noexec); set TMPDIR to another folder"
            )

    def pid(self) -> int | None:
        """Return the engine's process id, None before it has started."""
        return self._read_pid("pid")

    def mark_started(self) -> None:
        """Tell the launcher that the engine has answered: from now on its end is final."""
        (self.path / "started").touch()

    def is_stopped(self) -> bool:
        """Whether the engine was stopped by a signal: nobody will let it go on."""
        pid = self.pid()
        return pid is not None and process_state(pid) == "T"

    def kill_engine(self) -> None:
        """Kill the engine, stopped or hung as it may be."""
        self._kill("pid")

    def remove(self) -> None:
        """Kill what still runs here, remove its shared memory and the directory."""
        with contextlib.suppress(FileNotFoundError):
            self.mark_started()  # no other engine is wanted
        self._kill("pid")
        self._wait_for_launcher()
        self._kill("launcher")  # an engine that it has started meanwhile dies with it
        self._kill("pid")
        _remove_leftovers(self.path)

    def _wait_for_launcher(self) -> None:
        """Let the launcher unlock what the engine held; whoever closes the game would wait for it."""
        pid, deadline = self._read_pid("launcher"), time.monotonic() + UNLOCK_SECONDS
        while pid is not None and _runs_in(pid, self.path) and time.monotonic() < deadline:
            time.sleep(0.002)

    def _kill(self, name: str) -> None:
        pid = self._read_pid(name)
        if pid is not None and _runs_in(pid, self.path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _read_pid(self, name: str) -> int | None:
        try:
            return int((self.path / name).read_text())
        except (FileNotFoundError, ValueError):
            return None


def _check_room() -> None:
    """Raise OSError if shared memory has no room for an engine, which would die of SIGBUS."""
    if SHARED_MEMORY.exists():
        status = os.statvfs(SHARED_MEMORY)
        if (free := status.f_bavail * status.f_frsize) < NEEDED_SHARED_MEMORY:
            raise OSError(
                f"{SHARED_MEMORY} has {free / 2**20:.1f} MiB free, an engine needs {NEEDED_SHARED_MEMORY >> 20} MiB "
                "(docker run --shm-size=1g gives more); use fewer workers"
            )


class Watchdog:
    """Kills the engine when a guarded call lasts too long: a hung engine ignores Python's signals for ever."""

    def __init__(self, directory: EngineDirectory) -> None:
        self._directory = directory
        self._deadline: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="engine-watchdog", daemon=True)
        self._thread.start()

    def arm(self, seconds: float) -> None:
        """From now on the engine has `seconds` until `disarm`."""
        self._deadline = time.monotonic() + seconds

    def disarm(self) -> None:
        """The guarded call came back."""
        self._deadline = None

    @contextlib.contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Guard the block: the engine has `seconds` for it."""
        self.arm(seconds)
        try:
            yield
        finally:
            self.disarm()

    def close(self) -> None:
        """End the watch."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            deadline = self._deadline
            if deadline is not None and (time.monotonic() > deadline or self._directory.is_stopped()):
                self._directory.kill_engine()


def sweep() -> None:
    """Remove directories and shared memory of engines whose parent was killed before it could do so itself."""
    for directory in temporary_directory().glob(f"{PREFIX}*-*"):
        owner = directory.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            _remove_leftovers(directory)
    old = [file for file in SHARED_MEMORY.glob("ViZDoom*") if _is_forgotten(file)]
    used = _mapped_files() if old else ""
    for file in old:
        if file.name not in used:
            file.unlink(missing_ok=True)


def remove_leftovers_of(owner: int) -> None:
    """Remove what the game process `owner`, which has ended, left behind."""
    for directory in temporary_directory().glob(f"{PREFIX}{owner}-*"):
        _remove_leftovers(directory)


def _is_forgotten(file: Path) -> bool:
    """Whether a file in shared memory is ours and was written long ago."""
    try:
        status = file.stat()
    except OSError:
        return False
    return status.st_uid == os.getuid() and time.time() - status.st_mtime > FORGOTTEN_SECONDS


def _mapped_files() -> str:
    """Return the memory maps of all processes that may be looked at, as text."""
    maps = []
    for file in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            maps.append(file.read_text())
    return "".join(maps)


def temporary_directory() -> Path:
    """Where the engines' directories are."""
    return Path(tempfile.gettempdir())


def _remove_leftovers(directory: Path) -> None:
    """Remove the engine's directory and the shared memory that its arguments name."""
    with contextlib.suppress(OSError):
        words = (directory / "arguments").read_text().splitlines()
        instance = words[words.index("+viz_instance_id") + 1] if "+viz_instance_id" in words else ""
        for file in SHARED_MEMORY.glob(f"ViZDoom*{instance}") if instance.isalnum() else []:
            file.unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)


def _runs_in(pid: int, directory: Path) -> bool:
    """Whether `pid` is still the process started in `directory`, and not a stranger that got its number."""
    try:
        return Path(f"/proc/{pid}/cwd").resolve() == directory.resolve()
    except OSError:
        return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
