"""Engine processes: gone when their parent is, and leftovers swept."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worldmodel.envs.vizdoom import supervision

START_AND_DIE = """
import os, signal
from worldmodel.envs.vizdoom.game import VizdoomGame, find
game = VizdoomGame(find("VizdoomMyWayHome-v1"))
game.reset(0)
print(game.directory.pid(), game.directory.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

DIE_HOLDING = """
import mmap, os, signal, struct, sys
from pathlib import Path
from worldmodel.envs import GameDiedError
from worldmodel.envs.vizdoom.game import VizdoomGame, find
game = VizdoomGame(find("VizdoomMyWayHome-v1"), frame_size=32)
game.reset(0)
pid = game.directory.pid()
words = (game.directory.path / "arguments").read_text().splitlines()
instance = words[words.index("+viz_instance_id") + 1]
if sys.argv[2] == "close":
    os.kill(pid, signal.SIGSTOP)
with open(f"/dev/shm/ViZDoomMQ{sys.argv[1]}{instance}", "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
    assert struct.unpack_from("=IIi", memory, 0x30) == (0, 0, 0), "the mutex lies elsewhere"
    struct.pack_into("=IIiI", memory, 0x30, 2, 0, pid, 1)
if sys.argv[2] == "step":
    os.kill(pid, signal.SIGKILL)
    try:
        game.step(0)
    except GameDiedError:
        print("died")
game.close()
print("closed")
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_engine_dies_with_a_killed_parent_and_is_swept() -> None:
    """SIGKILL of the parent leaves no engine; the next start removes its directory and its shared memory."""
    done = subprocess.run([sys.executable, "-c", START_AND_DIE], capture_output=True, text=True, check=False)
    pid, path = done.stdout.split()
    deadline = time.monotonic() + 5
    while is_running(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(int(pid))
    instance = (Path(path) / "arguments").read_text().split("+viz_instance_id\n")[1].split("\n")[0]
    assert list(Path("/dev/shm").glob(f"ViZDoom*{instance}"))
    supervision.sweep()
    assert not list(Path("/dev/shm").glob(f"ViZDoom*{instance}"))
    assert not Path(path).exists()


@pytest.mark.skipif(not Path("/dev/shm").exists(), reason="the queues are elsewhere")
@pytest.mark.parametrize("queue", ["Ctr", "Doom"])
@pytest.mark.parametrize("call", ["step", "close"])
def test_an_engine_that_dies_with_a_queue_locked_holds_nobody_up(queue: str, call: str) -> None:
    """An engine killed in the middle of a message is found dead, and its game can be closed."""
    command = [sys.executable, "-c", DIE_HOLDING, queue, call]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == (["died", "closed"] if call == "step" else ["closed"]), done.stderr


def test_sweep_leaves_the_living_alone() -> None:
    """Directories of processes that run, this one among them, and other people's files stay."""
    mine = supervision.EngineDirectory("/bin/true")
    supervision.sweep()
    assert mine.path.exists()
    mine.remove()
    assert not mine.path.exists()


def test_sweep_removes_forgotten_memory_that_nobody_uses() -> None:
    """Shared memory of an engine without a directory goes when it is old and no process has it mapped."""
    old, young = (Path(f"/dev/shm/ViZDoomSMtest{name}{os.getpid()}") for name in ("old", "young"))
    used = Path(f"/dev/shm/ViZDoomSMtestused{os.getpid()}")
    for file in (old, young, used):
        file.write_bytes(bytes(8))
    for file in (old, used):
        os.utime(file, (time.time() - 7200, time.time() - 7200))
    try:
        with open(used, "rb") as stream, mmap.mmap(stream.fileno(), 8, prot=mmap.PROT_READ):
            supervision.sweep()
            assert [file.exists() for file in (old, young, used)] == [False, True, True]
    finally:
        for file in (old, young, used):
            file.unlink(missing_ok=True)


def test_no_room_for_an_engine_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small /dev/shm (SIGBUS in the library) and a noexec folder (SIGSEGV) are an OSError that says what to do."""
    monkeypatch.setattr(supervision, "NEEDED_SHARED_MEMORY", 1 << 60)
    with pytest.raises(OSError, match="--shm-size"):
        supervision.EngineDirectory("/bin/true")
    monkeypatch.setattr(supervision, "NEEDED_SHARED_MEMORY", 1)
    monkeypatch.setattr("os.access", lambda *_: False)
    before = set(supervision.temporary_directory().glob(f"{supervision.PREFIX}{os.getpid()}-*"))
    with pytest.raises(OSError, match="set TMPDIR"):
        supervision.EngineDirectory("/bin/true")
    assert set(supervision.temporary_directory().glob(f"{supervision.PREFIX}{os.getpid()}-*")) == before
