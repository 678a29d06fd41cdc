"""Files that may come from somewhere else: only regular ones are read, and none that is larger than it can be."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_regular(path: Path, *, max_bytes: int) -> bytes:
    """Return the content of a file.

    Raises:
        FileNotFoundError, NotADirectoryError, OSError: as `open` does.
        ValueError: if it is a pipe, a device or a directory, which may have no end, or longer than `max_bytes`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # opening a pipe would wait for its writer
    with open(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError(f"{path} is no regular file")
        if facts.st_size > max_bytes:
            raise ValueError(f"{path} is damaged: it has {facts.st_size:,} bytes, more than {max_bytes:,}")
        return file.read(max_bytes + 1)


def is_printable(value: object, *, max_length: int = 200) -> bool:
    """Whether a value from a file is a short text that a terminal only shows: no control characters, no surrogates."""
    return isinstance(value, str) and len(value) <= max_length and value.isprintable()
