"""Checkpoints: a directory with `config.json` and safetensors shards, verified when loaded, never half replaced.

`config.json` holds the kind of model, its config, its metrics and the SHA-256 of every shard. Shards carry a part of
their hash in their name, so a new save never touches the files of the old one; replacing `config.json` is the one step
that makes the new save the checkpoint. Nothing is ever unpickled.
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

from .rollouts.manifest import write_atomically

SCHEMA = 1
SHARD_BYTES = 15 * 2**20
INDEX = "config.json"
_SHARD_NAME = re.compile(r"model-\d{5}-of-\d{5}-[0-9a-f]{12}\.safetensors")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint directory holds."""

    kind: str  # "tokenizer", "vae", "belief", "dynamics" or "training"
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
    shards = list(_shards(checkpoint.tensors))
    files: dict[str, str] = {}
    try:
        for number, tensors in enumerate(shards, 1):
            data = save(tensors)
            digest = hashlib.sha256(data).hexdigest()
            name = f"model-{number:05d}-of-{len(shards):05d}-{digest[:12]}.safetensors"
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


def _shards(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in sorted(tensors.items()):
        tensor = tensor.detach().cpu().contiguous()
        if shard and size + tensor.nbytes > SHARD_BYTES:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor
        size += tensor.nbytes
    yield shard


def _remove_unlisted(path: Path) -> None:
    """Delete the shards that `config.json` does not list: those of the previous save, or of one that failed."""
    try:
        listed = set(json.loads((path / INDEX).read_text())["files"])
    except (OSError, ValueError, KeyError):
        listed = set()
    for file in path.glob("model-*.safetensors"):
        if _SHARD_NAME.fullmatch(file.name) and file.name not in listed:
            file.unlink(missing_ok=True)


def read_index(directory: str | os.PathLike[str], *, kind: str) -> dict[str, Any]:
    """Return the content of `config.json` without reading any weights.

    Raises:
        ValueError: if there is no checkpoint of this kind, or it is damaged; the message is one line.
    """
    path = Path(directory)
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
    if index["schema"] != SCHEMA:
        raise ValueError(f"{path} has schema {index['schema']!r}; this version reads {SCHEMA}")
    if index["kind"] != kind:
        raise ValueError(f"{path} is a {index['kind']} checkpoint, not a {kind} checkpoint")
    return index


def read(directory: str | os.PathLike[str], *, kind: str) -> Checkpoint:
    """Load and verify a checkpoint.

    Raises:
        ValueError: if it is missing, of another kind, or any byte of it is not what was saved.
    """
    index = read_index(directory, kind=kind)
    tensors: dict[str, Tensor] = {}
    for name, digest in index["files"].items():
        tensors |= _read_shard(Path(directory) / name, digest)
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
