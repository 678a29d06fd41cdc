"""Joins shards into the data set that one machine would have recorded, file by file, without copying where it can."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .lock import locked
from .manifest import (
    EPISODES_FILE,
    INFO_FILE,
    DatasetInfo,
    EpisodeRecord,
    differences,
    line_of,
    read_info,
    read_records,
    seal,
    sweep,
    sync_directory,
    write_atomically,
    write_info,
)
from .shard import SHARD_FILE, Shard, read_shard


@dataclass(frozen=True, kw_only=True)
class _Part:
    path: Path
    info: DatasetInfo
    shard: Shard
    records: list[EpisodeRecord]


def merge(
    shards: Sequence[Path],
    out: Path,
    *,
    on_start: Callable[[int], None] = lambda episodes: None,
    on_episode: Callable[[EpisodeRecord], None] = lambda record: None,
) -> None:
    """Make the data set `out` of all its shards; files are hard links, or copies on another file system.

    `out` becomes a data set at the end, at once. The same call again goes on where an earlier one was stopped, and one
    with shards that have become longer makes `out` longer. No episode is held in memory.

    Args:
        on_start: is called once with the number of episodes.
        on_episode: is called after each file that is in `out`.

    Raises:
        ValueError: if shards are missing, incomplete, there twice, of different settings or damaged, or `out` holds
            something else.
        OSError: if `out` cannot be written.
    """
    parts = [_read(path) for path in shards]
    _check(parts)
    info = parts[0].info
    lines = sorted(((record, part.path) for part in parts for record in part.records), key=lambda line: line[0].index)
    records = [record for record, _ in lines]
    with locked(out):
        sweep(out, ".*.tmp")
        _check_present(out, info, records)
        on_start(len(lines))
        for record, source in lines:
            _adopt(source / record.file, out / record.file, record)
            on_episode(record)
        sync_directory(out)
        write_atomically(out / EPISODES_FILE, b"".join(map(line_of, records)))
        seal(out, records)
        write_info(out, info)  # last: from here on it is a data set


def _read(path: Path) -> _Part:
    """Return what a directory holds. A whole data set is the only shard of one."""
    info, records = read_info(path), read_records(path)
    if not records:
        raise ValueError(f"{path} holds no episode yet")
    shard = read_shard(path) or Shard(index=0, num_shards=1, episodes=len(records))
    return _Part(path=path, info=info, shard=shard, records=records)


def _check(parts: Sequence[_Part]) -> None:
    """Raise ValueError if these are not all shards of one data set, each once and complete."""
    first = parts[0]
    for part in parts:
        if part.info.sha256 != first.info.sha256:
            name, ours, theirs = next(differences(part.info, first.info), ("world", "another", "one"))
            raise ValueError(f"{part.path} was recorded with {name} {ours}, {first.path} with {theirs}")
        if (part.shard.num_shards, part.shard.episodes) != (first.shard.num_shards, first.shard.episodes):
            one, other = (f"{p.path} is {p.shard}, {p.shard.episodes} episodes in all" for p in (part, first))
            raise ValueError(f"{one}, but {other}")
    num = first.shard.num_shards
    there = Counter(part.shard.index for part in parts)
    for index, count in there.items():
        if count > 1:
            paths = " and ".join(str(part.path) for part in parts if part.shard.index == index)
            raise ValueError(f"{paths} are both shard {index} of {num}: episode {index} would be there twice")
    if missing := [index for index in range(num) if index not in there]:
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        numbers = ", ".join(map(str, missing[:8]))
        raise ValueError(f"shard {numbers}{more} of {num} is missing: episode {missing[0]} would not be there")
    for part in parts:
        if len(part.records) != len(part.shard):
            have = f"{len(part.records)} of {len(part.shard)} episodes"
            raise ValueError(f"{part.path} has {have}; repeat the command that records it")


def _check_present(out: Path, info: DatasetInfo, records: Sequence[EpisodeRecord]) -> None:
    """Raise ValueError if `out` holds anything but the first of these episodes."""
    if not (out / INFO_FILE).exists():
        return
    if (out / SHARD_FILE).exists():
        raise ValueError(f"{out} is a shard itself; choose another --out")
    if read_info(out).sha256 != info.sha256:
        raise ValueError(f"{out} holds a data set with other settings; choose another --out")
    present = read_records(out)
    if present != records[: len(present)]:
        raise ValueError(f"{out} holds other episodes than the shards; choose another --out")


def _adopt(source: Path, target: Path, record: EpisodeRecord) -> None:
    """Bring an episode file into `out`, complete and as it was written, or not at all."""
    if target.is_file() and _digest(target) == record.sha256:
        return
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        target.unlink(missing_ok=True)  # if it is the same damaged file, a rename would leave both names
        _link_or_copy(source, temporary)
        if _digest(temporary) != record.sha256:
            raise ValueError(f"{source} is damaged: its SHA-256 does not match the manifest")
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _link_or_copy(source: Path, target: Path) -> None:
    if not stat.S_ISREG(os.stat(source).st_mode):  # a pipe would be waited for
        raise ValueError(f"{source} is no regular file")
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
        with open(target, "rb") as file:
            os.fsync(file.fileno())


def _digest(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
