"""How much memory there is for more games: a machine that runs out of it kills at random."""

from __future__ import annotations

import resource
from pathlib import Path

NEEDED = 120 << 20  # bytes: a game's process with its engine
CGROUP = Path("/sys/fs/cgroup")


def check_workers(workers: int) -> None:
    """Refuse more games at once than there is memory for; the first one is never refused.

    Raises:
        ValueError: saying how much they need and how much there is.
    """
    free = free_memory()
    if free is not None and (workers - 1) * NEEDED > free:
        raise ValueError(
            f"{workers} workers need about {workers * NEEDED / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free; "
            f"use --workers {max(1, free // NEEDED)} or less"
        )


def free_memory() -> int | None:
    """Return how many bytes this process and its children may still use; None where nothing says so."""
    found = [_available(), _group_rest()]
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        found.append(limit)
    known = [number for number in found if number is not None]
    return min(known) if known else None


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def _group_rest() -> int | None:
    """Return what the control group, a container's memory limit, leaves."""
    try:
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no such group, or "max"
        return None
    return max(0, limit - used)
