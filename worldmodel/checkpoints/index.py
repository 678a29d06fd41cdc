"""`config.json`, the index of a checkpoint: it has its own SHA-256, and is judged before what it names is opened."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from ..rollouts.files import is_printable, read_regular
from ..rollouts.manifest import write_atomically
from . import upgrade

SCHEMA = 2
FILE = "config.json"
CHECKSUM = "sha256"
MAX_BYTES = 16 * 2**20
MAX_SHARDS = 10_000
SHARD_NAME = re.compile(
    r"(model-\d{5}-of-\d{5}|[a-z_0-9]{1,64}(-\d{1,4})?)-[0-9a-f]{12}\.safetensors"
)  # of schema 1 and 2
KINDS = {"schema": int, "kind": str, "config": dict, "metrics": dict, "files": dict}


def write_index(directory: Path, content: dict[str, Any]) -> None:
    """Write the index, all or nothing, with the SHA-256 of its own content; one that it has already is replaced."""
    content = {name: value for name, value in content.items() if name != CHECKSUM}
    signed = content | {CHECKSUM: _digest(content)}
    write_atomically(directory / FILE, (json.dumps(signed, indent=2) + "\n").encode())


def read_index(directory: str | os.PathLike[str], *, kind: str = "") -> dict[str, Any]:
    """Return the content of `config.json` without reading any weights; settings of schema 1 by their present names.

    One that was written before indices had a SHA-256 of their own has no `sha256`.

    Args:
        directory: of the checkpoint.
        kind: of model that it has to be; any if empty.

    Raises:
        ValueError: if there is no checkpoint of this kind, or it is damaged; the message is one line.
    """
    path = Path(directory)
    index = _read(home(path, kind), kind)
    if index["schema"] == upgrade.SCHEMA:
        is_part = kind == "learned_map" and index["kind"] == "dynamics" and upgrade.has_map(index["config"])
        config = upgrade.upgraded_config(kind if is_part else index["kind"], index["config"])
        index |= {"config": config, "kind": kind if is_part else index["kind"]}
    if kind and index["kind"] != kind:
        raise ValueError(f"{path} is a {index['kind']} checkpoint, not a {kind} checkpoint")
    return index


def home(path: Path, kind: str) -> Path:
    """Return the directory that holds a checkpoint: in schema 1 a learned map was within the dynamics' files."""
    is_missing = kind == "learned_map" and not (path / FILE).exists()
    return path.parent if is_missing and _holds_map(path.parent) else path


def _holds_map(path: Path) -> bool:
    try:
        index = _read(path, "dynamics")
    except (ValueError, OSError):
        return False
    return index["schema"] == upgrade.SCHEMA and index["kind"] == "dynamics" and upgrade.has_map(index["config"])


def has_part(directory: str | os.PathLike[str], part: str) -> bool:
    """Return whether a checkpoint has a part of that name and kind, such as "learned_map", in a folder of its own."""
    path = Path(directory) / part
    return (path / FILE).exists() or home(path, part) != path


def _read(path: Path, kind: str) -> dict[str, Any]:
    """Return what `config.json` says, of whatever schema and kind."""
    try:
        content = read_regular(path / FILE, max_bytes=MAX_BYTES)
    except FileNotFoundError:
        raise ValueError(
            f"no {kind + ' ' if kind else ''}checkpoint at {path} (it has no {FILE}); name its directory"
        ) from None
    except NotADirectoryError:
        raise ValueError(f"a checkpoint is a directory, and {path} is a file") from None
    try:
        index = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError(f"{path / FILE} is damaged: it is not JSON") from None
    _check(path, index)
    return dict(index)


def _check(path: Path, index: Any) -> None:
    """Raise ValueError unless `index` describes a checkpoint and is as it was written."""
    names = KINDS.keys() | {CHECKSUM}
    if not isinstance(index, dict) or not KINDS.keys() <= index.keys() <= names:
        raise ValueError(f"{path / FILE} does not describe a checkpoint")
    for name, kind in KINDS.items():
        if type(index[name]) is not kind:
            raise ValueError(f"{path / FILE} does not describe a checkpoint: its {name!r} is no {kind.__name__}")
    if index["schema"] not in (upgrade.SCHEMA, SCHEMA):
        raise ValueError(f"{path} has schema {index['schema']!r}; this version reads {upgrade.SCHEMA} and {SCHEMA}")
    content = {name: value for name, value in index.items() if name != CHECKSUM}
    if CHECKSUM in index and index[CHECKSUM] != _digest(content):
        raise ValueError(f"{path / FILE} is damaged: its SHA-256 does not match its content")
    if not is_printable(index["kind"]):
        raise ValueError(f"{path / FILE} does not describe a checkpoint: its 'kind' is no name")
    _check_files(path, index["files"])


def _check_files(path: Path, files: dict[str, Any]) -> None:
    """Nothing outside of the directory is opened or confirmed: a shard has a shard's name, without a folder."""
    if len(files) > MAX_SHARDS:
        raise ValueError(f"{path / FILE} lists {len(files):,} files; a checkpoint has at most {MAX_SHARDS:,}")
    for name, digest in files.items():
        if not SHARD_NAME.fullmatch(name):
            raise ValueError(f"{path / FILE} lists {name!r}, which is not a shard's name")
        if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError(f"{path / FILE} does not say the SHA-256 of {name}")


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
