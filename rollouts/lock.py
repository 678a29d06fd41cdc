"""A directory for one process at a time: the one that writes into it holds its lock."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE = ".lock"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Make the directory `path`, if it is missing, and keep it for this process alone. The lock dies with the process.

    A directory that was made and into which nothing was written is removed.

    Raises:
        ValueError: if another process holds it, or the directory cannot be made or written.
    """
    is_new = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = open(path / FILE, "w")  # noqa: SIM115
    except OSError as error:
        raise ValueError(f"cannot write to --out {path}: {error.strerror}; choose another") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            remedy = "wait for its end or choose another --out"
            raise ValueError(f"another process is writing into {path}; {remedy}") from None
        try:
            yield
        finally:
            if is_new and [child.name for child in path.iterdir()] == [FILE]:  # nothing came of it
                (path / FILE).unlink()
                path.rmdir()
