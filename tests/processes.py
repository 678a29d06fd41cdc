"""Looking at processes through /proc."""

from __future__ import annotations

import os
from pathlib import Path


def read(file: str) -> str:
    """Return the text of a file of /proc; nothing of a process that is gone."""
    try:
        return Path(file).read_text(errors="replace")
    except OSError:
        return ""


def descendants(roots: set[int]) -> list[int]:
    """Return the children of processes, their children, and so on."""
    parents: dict[int, list[int]] = {}
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
        fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if fields:
            parents.setdefault(int(fields[1]), []).append(pid)
    found = [child for root in sorted(roots) for child in parents.get(root, [])]
    for pid in found:
        found += parents.get(pid, [])
    return found
