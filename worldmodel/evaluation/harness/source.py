"""Which code answers: a hash over all modules that an answer may depend on."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from ... import envs, rollouts

PACKAGES = (Path(__file__).parents[2], Path(envs.__file__).parent, Path(rollouts.__file__).parent)
SHOWS = Path(__file__).parents[1] / "report"  # it shows answers and makes none


@functools.cache
def source() -> str:
    """Return a SHA-256 over every module of the package that an answer may depend on: all but what shows answers."""
    return hash_of_modules(*PACKAGES, apart_from=SHOWS)


def hash_of_modules(*packages: Path, apart_from: Path | None = None) -> str:
    """Return a SHA-256 over names and contents of all modules below some directories."""
    found = hashlib.sha256()
    for package in packages:
        for file in sorted(package.rglob("*.py")):
            if apart_from not in file.parents:
                found.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes() + b"\0")
    return found.hexdigest()
