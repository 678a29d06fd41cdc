"""What this project asks of the operating system about processes: their state, and death with the parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def process_state(pid: int) -> str:
    """Return the letter of a process's state (T is stopped, Z ended), or nothing where it cannot be known."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def die_with(parent: int) -> None:
    """Have this process killed when `parent` is."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before prctl could be heard
        os._exit(1)
