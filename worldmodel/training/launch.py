"""Starts a training command as several processes that train one model together, and ends them together.

The processes find each other through the environment variables that torch.distributed reads, as under `torchrun`.
This one imports no torch: it waits, hands signals on, and says what went wrong, once.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ..config import MAX_PROCESSES
from .stopping import stop_signals

STATE = Path("training", "config.json")  # of a saved run, below its directory: see training/state.py
MAX_AUTOMATIC = 4  # on a CPU; more, if somebody says so
GRACE_SECONDS = 5.0  # from SIGTERM to SIGKILL: who waits for the gradients of a process that is gone hears no SIGTERM
POLL_SECONDS = 0.05
LOOPBACK_SECONDS = 2.0
TAIL_LINES = 30
ERRORS = "WORLDMODEL_ERRORS_FD"  # in the environment of the processes: where they write their errors
STOPPED = {128 + signal.SIGINT, 128 + signal.SIGTERM}  # exit codes of a process that saved and left
PR_SET_PDEATHSIG = 1  # linux/prctl.h
GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA's driver, WSL's, AMD's


def is_launched() -> bool:
    """Whether this process is already one of several."""
    return "RANK" in os.environ


def is_ours() -> bool:
    """Whether this process was launched by `launch`, not by torchrun."""
    return ERRORS in os.environ


def rank() -> int:
    """Return the number of this process among those that train one model; 0 is the first."""
    return int(os.environ.get("RANK", 0))


def choose_processes(out: Path, *, resume: bool) -> int:
    """Return how many processes to use where nobody says: those of the run to resume, one a GPU, or one a core."""
    saved = _saved_processes(out) if resume else None
    return saved or _gpus() or min(_cores(), MAX_AUTOMATIC)


def has_loopback() -> bool:
    """Whether processes of this machine can talk with each other through 127.0.0.1."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=LOOPBACK_SECONDS).close()
    except OSError:
        return False
    return True


def require_loopback(number: int) -> None:
    """Raise ValueError if `number` processes could not talk with each other: torch would wait for half an hour."""
    if not has_loopback():
        raise ValueError(
            f"{number} processes talk through the loopback interface, which is down; "
            "use --processes 1, or bring it up (ip link set lo up)"
        )


def _saved_processes(out: Path) -> int | None:
    """Return how many processes the run saved in `out` had, None if that cannot be read: the loop says why."""
    try:
        number = json.loads((out / STATE).read_text())["config"]["processes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return number if isinstance(number, int) and 1 <= number <= MAX_PROCESSES else None


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus() -> int:
    """Return how many GPUs torch sees. It is asked, in a process that forgets it, only where there may be one."""
    if os.name == "posix" and not any(os.path.exists(device) for device in GPU_DEVICES):
        return 0
    question = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
    answer = subprocess.run([sys.executable, "-P", "-c", question], capture_output=True, text=True, check=False)
    return int(answer.stdout) if answer.returncode == 0 else 0


def launch(command: Sequence[str], number: int) -> tuple[int, str]:
    """Run `command` as `number` processes; return the exit code, and what to say if it is an error.

    SIGINT and SIGTERM are handed on, and the processes save and leave. If one fails, the others are ended and its
    code and its error are returned. On Linux the processes die with this one.
    """
    with stop_signals() as signals, _Crew(command, number) as crew:
        return crew.wait(signals)


def hand_over(error: str) -> bool:
    """Give an error to the process that launched this one, which says the first of all; False if there is none."""
    if ERRORS not in os.environ:
        return False
    os.write(int(os.environ[ERRORS]), f"{error}\n".encode())
    return True


class _Crew:
    """The processes of a run. The first one's output is shown; that of the others is kept for an error message."""

    def __init__(self, command: Sequence[str], number: int) -> None:
        self.command = command
        self.number = number
        self.processes: list[subprocess.Popen[bytes]] = []
        self.files = ExitStack()

    def __enter__(self) -> _Crew:
        # All write to one file, so that the first line is the first error: the others may only be its consequences.
        self.errors = self.files.enter_context(tempfile.TemporaryFile(buffering=0))
        self.outputs = [self.files.enter_context(tempfile.TemporaryFile()) for _ in range(self.number)]  # noqa: SIM115
        environment = os.environ | _environment(self.number) | {ERRORS: str(self.errors.fileno())}
        try:
            for rank in range(self.number):
                self._start(rank, environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._signal(signal.SIGKILL)
        for process in self.processes:
            process.wait()
        self.files.close()

    def _start(self, rank: int, environment: dict[str, str]) -> None:
        output = self.outputs[rank]
        self.processes.append(
            subprocess.Popen(
                self.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output if rank else None,
                stderr=output if rank else None,
                pass_fds=[self.errors.fileno()],
                process_group=0,  # Ctrl-C in the terminal is for this process alone, which hands it on
                preexec_fn=functools.partial(_die_with, os.getpid(), _libc()),
            )
        )

    def wait(self, signals: list[int]) -> tuple[int, str]:
        """Wait for the end of all processes and return the exit code and the error of the run."""
        heard, deadline = 0, float("inf")
        failed: tuple[int, int] | None = None
        while None in [process.poll() for process in self.processes]:  # all are asked
            if len(signals) > heard:
                self._signal(signals[-1])
                if heard:  # asked twice: no longer than necessary
                    deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
                heard = len(signals)
            if failed is None and (failed := self._failure()):
                self._signal(signal.SIGTERM)
            if failed or any(process.returncode for process in self.processes):  # nobody leaves before the others
                deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
            if time.monotonic() > deadline:
                self._signal(signal.SIGKILL)
            time.sleep(POLL_SECONDS)
        failed = failed or self._failure()
        if signals and failed and failed[1] < 0:
            return 128 + signals[-1], ""  # too early to save anything, or too late
        if failed:
            return self._explain(*failed)
        return max(process.returncode for process in self.processes), ""

    def _failure(self) -> tuple[int, int] | None:
        """Return (rank, exit code) of a process that failed; of several, of one that was killed: it said nothing."""
        codes = [(rank, process.returncode) for rank, process in enumerate(self.processes)]
        failed = [(code, rank) for rank, code in codes if code not in (None, 0, *STOPPED)]
        return min(failed)[::-1] if failed else None

    def _explain(self, rank: int, code: int) -> tuple[int, str]:
        """Return the exit code and the error that a failed process stands for."""
        if code < 0:
            name = signal.Signals(-code).name
            return 1, (
                f"process {rank} of {self.number} was killed by {name}; "
                "repeat the command with --resume to continue from the last save"
            )
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").splitlines()
        if said:
            return code, said[0]
        if rank:  # a bug's traceback, which nobody has seen yet
            self.outputs[rank].seek(0)
            lines = self.outputs[rank].read().decode(errors="replace").splitlines()
            print(*lines[-TAIL_LINES:], sep="\n", file=sys.stderr)
        return code, ""

    def _signal(self, number: int) -> None:
        """Send a signal to each process that still runs, and what it has started."""
        for process in self.processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)


def _environment(number: int) -> dict[str, str]:
    """Return what torch.distributed and OpenMP have to know, without what the user has set."""
    usual = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    loopback = [name for _, name in socket.if_nameindex() if name in {"lo", "lo0"}]
    if loopback:  # no host name has to be looked up, which may take for ever
        usual["GLOO_SOCKET_IFNAME"] = loopback[0]
    processes = {"WORLD_SIZE": str(number), "LOCAL_WORLD_SIZE": str(number)}
    meeting_point = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return {name: os.environ.get(name, value) for name, value in usual.items()} | processes | meeting_point


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


def _die_with(parent: int, libc: ctypes.CDLL | None) -> None:
    """Have this process, between fork and exec, killed when `parent` is."""
    if libc is not None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before prctl could be heard
        os._exit(1)
