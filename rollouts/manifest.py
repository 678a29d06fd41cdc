"""What a data set says about itself: `dataset.json` (settings) and `episodes.jsonl` (one line an episode, in order)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SCHEMA = 1
INFO_FILE = "dataset.json"
EPISODES_FILE = "episodes.jsonl"


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """How every episode of a data set was recorded.

    Attributes:
        settings: of the game; with an episode's seed and actions they reproduce its frames bit for bit.
        frames_per_second: how many recorded frames are a second of real time.
        variables: names of the recorded game variables.
        policy: who chose the actions.
        split: "train" or "test".
        seed: the first episode's number within its split.
        schema: version of the storage format.
    """

    settings: Mapping[str, Any]
    frames_per_second: float
    variables: tuple[str, ...]
    policy: str
    split: str
    seed: int
    schema: int = SCHEMA

    @property
    def env(self) -> str:
        return str(self.settings["env"])

    @property
    def action_names(self) -> tuple[str, ...]:
        return tuple(self.settings["action_names"])

    @property
    def frame_skip(self) -> int:
        return int(self.settings["frame_skip"])

    @property
    def frame_size(self) -> int:
        return int(self.settings["frame_size"])

    @property
    def sha256(self) -> str:
        """SHA-256 of everything above."""
        return hashlib.sha256(_canonical(asdict(self))).hexdigest()


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """One line of `episodes.jsonl`. `frames` counts T+1; `sha256` is of the file."""

    index: int
    file: str
    frames: int
    seed: int
    terminated: bool
    truncated: bool
    sha256: str


def write_info(path: Path, info: DatasetInfo) -> None:
    """Write `dataset.json`, all or nothing."""
    content = {**asdict(info), "sha256": info.sha256}
    write_atomically(path / INFO_FILE, (json.dumps(content, indent=2) + "\n").encode())


def read_info(path: Path) -> DatasetInfo:
    """Read `dataset.json`.

    Raises:
        FileNotFoundError: if there is no data set.
        ValueError: if it is damaged or of another schema.
    """
    file = path / INFO_FILE
    if not file.is_file():
        raise FileNotFoundError(f"no data set in {path} (collect-rollouts --out {path} makes one)")
    try:
        content = json.loads(file.read_bytes())
        schema, digest = content["schema"], content.pop("sha256")
        if schema == SCHEMA:
            info = DatasetInfo(**{**content, "variables": tuple(content["variables"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    if schema != SCHEMA:
        raise ValueError(f"{file} has schema {schema}; this version reads {SCHEMA}")
    if digest != info.sha256:
        raise ValueError(f"{file} is damaged: its SHA-256 does not match its content")
    return info


def append_record(path: Path, record: EpisodeRecord) -> None:
    """Append a line to `episodes.jsonl` and bring it to the disk."""
    with open(path / EPISODES_FILE, "ab") as file:
        file.write(_canonical(asdict(record)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_records(path: Path) -> list[EpisodeRecord]:
    """Read `episodes.jsonl`; a last line that was cut off while being written does not count.

    Raises:
        ValueError: if a line is damaged.
    """
    file = path / EPISODES_FILE
    lines = file.read_bytes().split(b"\n")[:-1] if file.is_file() else []
    records = []
    for index, line in enumerate(lines):
        try:
            record = EpisodeRecord(**json.loads(line))
            if record.index != index or record.file != Path(record.file).name:
                raise ValueError(f"episode {record.index} in file {record.file!r} stands in line {index + 1}")
        except (ValueError, TypeError) as error:
            raise ValueError(f"{file} is damaged in line {index + 1}: {error}") from error
        records.append(record)
    return records


def drop_cut_off_line(path: Path) -> None:
    """Remove the half line that a killed writer left at the end of `episodes.jsonl`."""
    file = path / EPISODES_FILE
    content = file.read_bytes() if file.is_file() else b""
    if content and not content.endswith(b"\n"):
        os.truncate(file, content.rfind(b"\n") + 1)


def fingerprint(info: DatasetInfo, records: Sequence[EpisodeRecord]) -> str:
    """Return the SHA-256 over the settings and all episodes: the same for any number of workers, at any time."""
    digest = hashlib.sha256(info.sha256.encode())
    for record in records:
        digest.update(_canonical(asdict(record)))
    return digest.hexdigest()


def write_atomically(file: Path, content: bytes | memoryview) -> None:
    """Write a file so that after a crash or a full disk it is either complete or what it was before."""
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(file.parent)


def sync_directory(path: Path) -> None:
    """Bring renames and new names in a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
