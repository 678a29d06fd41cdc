"""Checkpoints: a directory with `config.json` and safetensors shards, verified when loaded, never half replaced.

`config.json` holds the kind of model, its config, its metrics and the SHA-256 of every shard. There are shards for each
module of the model, with a part of their hash in their name: a new save never touches the files of the old one, and a
module that did not change keeps its file. Replacing `config.json` is the one step that makes the new save the
checkpoint. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from . import upgrade
from .rollouts.manifest import write_atomically

SCHEMA = 2
SHARD_BYTES = 15 * 2**20
INDEX = "config.json"
_SHARD_NAME = re.compile(r"(model-\d{5}-of-\d{5}|[a-z_0-9]+(-\d+)?)-[0-9a-f]{12}\.safetensors")  # of schema 1 and 2


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint directory holds."""

    kind: str  # "tokenizer", "vae", "learned_map", "dynamics" or "training"
    config: dict[str, Any]
    metrics: dict[str, Any]
    tensors: dict[str, Tensor]


def write(directory: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Save a checkpoint. Until it is complete on disk, the directory keeps the previous one.

    Raises:
        OSError: if the disk is full or the directory cannot be written; the previous checkpoint is intact.
    """
    path = Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    files: dict[str, str] = {}
    try:
        for module, tensors in _shards(checkpoint.tensors):
            data = save(tensors)
            digest = hashlib.sha256(data).hexdigest()
            name = f"{module}-{digest[:12]}.safetensors"
            files[name] = digest
            write_atomically(path / name, data)
        index = {
            "schema": SCHEMA,
            "kind": checkpoint.kind,
            "config": checkpoint.config,
            "metrics": checkpoint.metrics,
            "files": files,
        }
        write_atomically(path / INDEX, (json.dumps(index, indent=2) + "\n").encode())
    finally:
        _remove_unlisted(path)


def _shards(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield the name and the tensors of each shard: a module, or a numbered part of a large one."""
    modules: dict[str, dict[str, Tensor]] = {}
    for name, tensor in sorted(tensors.items()):
        module = name.partition(".")[0] if "." in name else "buffers"
        modules.setdefault(module, {})[name] = tensor.detach().cpu().contiguous()
    for module, members in modules.items() or [("buffers", {})]:
        parts: list[dict[str, Tensor]] = [{}]
        size = 0
        for name, tensor in members.items():
            if parts[-1] and size + tensor.nbytes > SHARD_BYTES:
                parts.append({})
                size = 0
            parts[-1][name] = tensor
            size += tensor.nbytes
        for number, part in enumerate(parts, 1):
            yield (f"{module}-{number}" if len(parts) > 1 else module), part


def _remove_unlisted(path: Path) -> None:
    """Delete the shards that `config.json` does not list: those of the previous save, or of one that failed."""
    try:
        listed = set(json.loads((path / INDEX).read_text())["files"])
    except (OSError, ValueError, KeyError):
        listed = set()
    for file in path.glob("*.safetensors"):
        if _SHARD_NAME.fullmatch(file.name) and file.name not in listed:
            file.unlink(missing_ok=True)


def read_index(directory: str | os.PathLike[str], *, kind: str) -> dict[str, Any]:
    """Return the content of `config.json` without reading any weights; settings of schema 1 by their present names.

    Raises:
        ValueError: if there is no checkpoint of this kind, or it is damaged; the message is one line.
    """
    path = Path(directory)
    index = _read_index(_home(path, kind), kind)
    if index["schema"] not in (upgrade.SCHEMA, SCHEMA):
        raise ValueError(f"{path} has schema {index['schema']!r}; this version reads {upgrade.SCHEMA} and {SCHEMA}")
    if index["schema"] == upgrade.SCHEMA:
        is_part = kind == "learned_map" and index["kind"] == "dynamics" and upgrade.has_map(index["config"])
        index |= {"config": upgrade.upgraded_config(kind, index["config"]), "kind": kind if is_part else index["kind"]}
    if index["kind"] != kind:
        raise ValueError(f"{path} is a {index['kind']} checkpoint, not a {kind} checkpoint")
    return index


def _read_index(path: Path, kind: str) -> dict[str, Any]:
    """Return what `config.json` says, of whatever schema and kind."""
    try:
        index = json.loads((path / INDEX).read_text())
    except FileNotFoundError:
        raise ValueError(f"no {kind} checkpoint at {path} (it has no {INDEX})") from None
    except NotADirectoryError:
        raise ValueError(f"a checkpoint is a directory, and {path} is a file") from None
    except ValueError:
        raise ValueError(f"{path / INDEX} is damaged: it is not JSON") from None
    if not isinstance(index, dict) or not {"schema", "kind", "config", "metrics", "files"} <= index.keys():
        raise ValueError(f"{path / INDEX} does not describe a checkpoint")
    return index


def _home(path: Path, kind: str) -> Path:
    """Return the directory that holds a checkpoint: in schema 1 a learned map was within the dynamics' files."""
    return path.parent if kind == "learned_map" and not (path / INDEX).exists() and _holds_map(path.parent) else path


def _holds_map(path: Path) -> bool:
    try:
        index = _read_index(path, "dynamics")
    except ValueError:
        return False
    return index["schema"] == upgrade.SCHEMA and index["kind"] == "dynamics" and upgrade.has_map(index["config"])


def has_part(directory: str | os.PathLike[str], part: str) -> bool:
    """Return whether a checkpoint has a part of that name and kind, such as "learned_map", in a folder of its own."""
    path = Path(directory) / part
    return (path / INDEX).exists() or _home(path, part) != path


def read(directory: str | os.PathLike[str], *, kind: str) -> Checkpoint:
    """Load and verify a checkpoint.

    Raises:
        ValueError: if it is missing, of another kind, or any byte of it is not what was saved.
    """
    index, home = read_index(directory, kind=kind), _home(Path(directory), kind)
    tensors: dict[str, Tensor] = {}
    for name, digest in index["files"].items():
        tensors |= _read_shard(home / name, digest)
    if index["schema"] == upgrade.SCHEMA:
        tensors = upgrade.upgraded_weights(kind, tensors)
    return Checkpoint(kind=kind, config=index["config"], metrics=index["metrics"], tensors=tensors)


def _read_shard(path: Path, digest: str) -> dict[str, Tensor]:
    if not _SHARD_NAME.fullmatch(path.name):
        raise ValueError(f"{path.parent / INDEX} lists {path.name!r}, which is not a shard's name")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"{path} is damaged: its SHA-256 is not the one that was saved")
    try:
        tensors: dict[str, Tensor] = load(data)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    return tensors


def load_weights(model: nn.Module, checkpoint: Checkpoint, directory: str | os.PathLike[str]) -> None:
    """Put a checkpoint's tensors into a model; every name and shape must fit, and every number be finite.

    Raises:
        ValueError: naming the first weight that does not fit or is not finite.
    """
    for name, tensor in checkpoint.tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{directory}: the weights {name} are not finite")
    try:
        model.load_state_dict(checkpoint.tensors, strict=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[1:2] or [str(error)]
        raise ValueError(f"{directory}: the weights do not fit the config: {reason[0].strip()}") from None
