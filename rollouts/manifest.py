"""What a data set says about itself: `dataset.json` (settings) and `episodes.jsonl` (one line an episode, in order).

Each line has a checksum of its own, and `sealed.json` says how many lines there were when a recorder last ended: a
manifest that was cut short is told from one that is being written.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .files import is_printable, read_regular
from .shard import read_shard

SCHEMA = 1
INFO_FILE = "dataset.json"
EPISODES_FILE = "episodes.jsonl"
SEAL_FILE = "sealed.json"
CHECK = "check"  # in a line of episodes.jsonl: two short checksums, of its facts and of the file's SHA-256
STATEMENTS = {"world"}  # settings that say something of a game and change no frame; older data sets lack them
MAX_INFO_BYTES, MAX_EPISODES_BYTES = 2**20, 2**30
MAX_FRAMES = 10**8  # of an episode
MAX_ACTIONS, MAX_VARIABLES = 1024, 256
MAX_RATE, MAX_FRAME_SKIP, MAX_FRAME_SIZE = 10_000, 10**6, 4096


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
    """One line of `episodes.jsonl`. `frames` counts T+1; `sha256` is of the file.

    Line i is of episode i; in a shard, of the shard's i-th (see Shard).
    """

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
    if not file.exists():
        raise FileNotFoundError(f"no data set in {path} (collect-rollouts --out {path} makes one)")
    data = read_regular(file, max_bytes=MAX_INFO_BYTES)
    try:
        content = json.loads(data)
        schema, digest = content["schema"], content.pop("sha256")
        if schema == SCHEMA:
            info = DatasetInfo(**{**content, "variables": tuple(content["variables"])})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    if schema != SCHEMA:
        raise ValueError(f"{file} has schema {schema!r}; this version reads {SCHEMA}")
    if digest != info.sha256:
        raise ValueError(f"{file} is damaged: its SHA-256 does not match its content")
    if wrong := next(_wrong_facts(info), None):
        raise ValueError(f"{file} describes no data set: {wrong}")
    return info


def differences(ours: DatasetInfo, theirs: DatasetInfo) -> Iterator[tuple[str, object, object]]:
    """Yield what makes data sets unlike: the name of a setting and its two values, the game's first."""
    one, other = asdict(ours), asdict(theirs)
    one |= one.pop("settings")
    other |= other.pop("settings")
    names = (one.keys() | other.keys()) - STATEMENTS
    for name in sorted(names, key=lambda name: (name != "env", name)):
        if one.get(name) != other.get(name):
            yield name, one.get(name), other.get(name)


def _wrong_facts(info: DatasetInfo) -> Iterator[str]:
    """Yield what cannot be in the description of a data set, whoever signed it."""
    settings = info.settings
    if not isinstance(settings, Mapping):
        yield "settings are no names with values"
        return
    texts = {"policy": info.policy, "split": info.split} | {name: settings.get(name) for name in ("env", "engine")}
    for name, text in texts.items():
        if not is_printable(text):
            yield f"{name} is no short printable text"
    for name, most in (("frame_skip", MAX_FRAME_SKIP), ("frame_size", MAX_FRAME_SIZE)):
        if not _is_count(settings.get(name), most=most):
            yield f"{name} is no whole number of 1 to {most}"
    rate = info.frames_per_second
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= MAX_RATE:
        yield f"frames_per_second is not above 0 and at most {MAX_RATE}"
    if isinstance(info.seed, bool) or not isinstance(info.seed, int):
        yield "seed is no whole number"
    for name, names, most in (
        ("action_names", settings.get("action_names"), MAX_ACTIONS),
        ("variables", info.variables, MAX_VARIABLES),
    ):
        if not isinstance(names, list | tuple) or len(names) > most or not all(map(is_printable, names)):
            yield f"{name} is no list of at most {most} short printable texts"
    if not settings.get("action_names"):
        yield "action_names is empty"


def _is_count(value: object, *, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def append_record(path: Path, record: EpisodeRecord) -> None:
    """Append a line to `episodes.jsonl` and bring it to the disk."""
    with open(path / EPISODES_FILE, "ab") as file:
        file.write(line_of(record))
        file.flush()
        os.fsync(file.fileno())


def line_of(record: EpisodeRecord) -> bytes:
    """Return the line of `episodes.jsonl` that says this."""
    return _canonical({**vars(record), CHECK: _check_of(record)}) + b"\n"


def read_records(path: Path) -> list[EpisodeRecord]:
    """Read `episodes.jsonl`; a last line that was cut off while being written does not count.

    Raises:
        ValueError: if a line is damaged, or there are fewer than there were when the data set was sealed.
    """
    file = path / EPISODES_FILE
    data = read_regular(file, max_bytes=MAX_EPISODES_BYTES) if file.exists() else b""
    records = []
    shard = read_shard(path)
    numbers = itertools.count(shard.index, shard.num_shards) if shard else itertools.count()
    lines = data.split(b"\n")[:-1]
    for place, (index, line) in enumerate(zip(numbers, lines, strict=False), start=1):
        try:
            records.append(_read_line(path, index, line))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{file} is damaged in line {place}: {error}") from error
    sealed = _sealed_episodes(path)
    if len(records) < sealed:
        raise ValueError(f"{file} is damaged: it has {len(records)} of at least {sealed} episodes")
    return records


def _read_line(path: Path, index: int, line: bytes) -> EpisodeRecord:
    content = json.loads(line)
    check = content.pop(CHECK, None) if isinstance(content, dict) else None
    record = EpisodeRecord(**content)
    if not _is_count(record.frames, most=MAX_FRAMES):
        raise ValueError(f"frames is no whole number of 1 to {MAX_FRAMES}")
    for name, kind in (("index", int), ("seed", int), ("terminated", bool), ("truncated", bool)):
        if type(getattr(record, name)) is not kind:
            raise ValueError(f"{name} is no {kind.__name__}")
    if record.index != index or record.file != f"episode-{index:06d}.parquet":
        raise ValueError(f"episode {record.index} in file {str(record.file)[:100]!r} stands in place of {index}")
    if not isinstance(record.sha256, str) or not re.fullmatch("[0-9a-f]{64}", record.sha256):
        raise ValueError("sha256 is no SHA-256")
    if check is not None:
        _compare_check(path, record, check)
    return record


def _check_of(record: EpisodeRecord) -> str:
    facts = {name: value for name, value in vars(record).items() if name != "sha256"}
    return f"{zlib.crc32(_canonical(facts)):08x}-{zlib.crc32(record.sha256.encode()):08x}"


def _compare_check(path: Path, record: EpisodeRecord, check: object) -> None:
    """Raise ValueError if a line is not as it was written.

    A SHA-256 that is not the one that was written may be that of a file that was replaced: then the file decides.
    """
    facts, _, digest = _check_of(record).partition("-")
    if not isinstance(check, str) or check.partition("-")[0] != facts:
        raise ValueError("its checksum does not match")
    if check.partition("-")[2] != digest:
        content = (path / record.file).read_bytes() if (path / record.file).is_file() else b""
        if hashlib.sha256(content).hexdigest() != record.sha256:
            raise ValueError("its checksum does not match, nor does the file have its SHA-256")


def has_checks(path: Path) -> bool:
    """Whether every line of `episodes.jsonl` has a checksum: those of older versions have none."""
    file = path / EPISODES_FILE
    lines = file.read_bytes().split(b"\n")[:-1] if file.is_file() else []
    return all(f'"{CHECK}":'.encode() in line for line in lines)


def seal(path: Path, records: Sequence[EpisodeRecord]) -> None:
    """Write down how many episodes there are, so that a manifest that is cut short is noticed."""
    write_atomically(path / SEAL_FILE, (json.dumps({"episodes": len(records)}) + "\n").encode())


def _sealed_episodes(path: Path) -> int:
    """Return how many episodes there were when the data set was sealed; 0 if it was not."""
    file = path / SEAL_FILE
    if not file.exists():
        return 0
    try:
        number = json.loads(read_regular(file, max_bytes=MAX_INFO_BYTES))["episodes"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"{file} is damaged: episodes is no whole number")
    return number


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
        digest.update(_canonical(vars(record)))
    return digest.hexdigest()


def sweep(path: Path, pattern: str) -> None:
    """Remove the temporary files that killed processes left in a directory which this one alone writes into."""
    for file in path.glob(pattern):
        file.unlink(missing_ok=True)


def write_atomically(file: Path, content: bytes | bytearray | memoryview) -> None:
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
