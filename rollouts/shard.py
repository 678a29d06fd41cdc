"""A shard: every N-th episode of a data set, recorded into a directory of its own, to be merged with the others."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from .files import read_regular

SHARD_FILE = "shard.json"
MAX_SHARD_BYTES = 2**16


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Which episodes of a whole data set a directory holds: `index`, `index + num_shards`, ... below `episodes`.

    They keep the numbers and seeds that they have in the whole data set.

    Raises:
        ValueError: if the numbers cannot be.
    """

    index: int
    num_shards: int
    episodes: int

    def __post_init__(self) -> None:
        if any(type(number) is not int for number in asdict(self).values()):
            raise ValueError("a shard is described by whole numbers")
        check_shard(self.index, self.num_shards)
        if self.episodes < self.num_shards:
            raise ValueError(
                f"{self.episodes} episodes cannot be shared by {self.num_shards} shards; use fewer, or more episodes"
            )

    def __str__(self) -> str:
        return f"shard {self.index} of {self.num_shards}"

    def __len__(self) -> int:
        return len(range(self.index, self.episodes, self.num_shards))


def check_shard(index: int, num_shards: int) -> None:
    """Raise ValueError if there is no such shard."""
    if num_shards < 1 or not 0 <= index < num_shards:
        raise ValueError(
            f"num_shards must be at least 1 and shard_index 0 to num_shards - 1, got {num_shards} and {index}"
        )


def encode_shard(shard: Shard) -> bytes:
    """Return the content of `shard.json`."""
    return (json.dumps(asdict(shard)) + "\n").encode()


def read_shard(path: Path) -> Shard | None:
    """Read which shard the directory `path` holds; None if it is a whole data set.

    Raises:
        ValueError: if `shard.json` is damaged.
    """
    file = path / SHARD_FILE
    if not file.exists():
        return None
    try:
        return Shard(**json.loads(read_regular(file, max_bytes=MAX_SHARD_BYTES)))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{file} is damaged: {error}") from error
