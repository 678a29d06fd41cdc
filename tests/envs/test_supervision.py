"""Engine processes: gone when their parent is, and leftovers swept."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from worldmodel.envs import supervision

START_AND_DIE = """
import os, signal
from worldmodel.envs import make_env
game = make_env()
game.reset(0)
print(game.directory.pid(), game.directory.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
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


def test_sweep_leaves_the_living_alone() -> None:
    """Directories of processes that run, this one among them, and other people's files stay."""
    mine = supervision.EngineDirectory("/bin/true")
    supervision.sweep()
    assert mine.path.exists()
    mine.remove()
    assert not mine.path.exists()
