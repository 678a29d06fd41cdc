"""Checkpoints: a directory with `config.json` and safetensors shards, verified when loaded, never half replaced.

`config.json` (see index.py) holds the kind of model, its config, its metrics and the SHA-256 of every shard. Shards
carry a part of their hash in their name, so a new save never touches the files of the old one; replacing `config.json`
is the one step that makes the new save the checkpoint. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from .index import FILE as INDEX
from .index import SCHEMA, SHARD_NAME, read_index, write_index
from .rollouts.files import read_regular
from .rollouts.manifest import write_atomically

__all__ = ["INDEX", "Checkpoint", "build", "load_weights", "read", "read_index", "write"]

SHARD_BYTES = 15 * 2**20
MAX_SHARD_BYTES = 4 * 2**30  # a single tensor may be larger than SHARD_BYTES
MAX_HEADER_BYTES = 8 * 2**20
MAX_TENSORS, MAX_DIMENSIONS = 50_000, 8

Model = TypeVar("Model", bound=nn.Module)


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
        about = {"kind": checkpoint.kind, "config": checkpoint.config, "metrics": checkpoint.metrics}
        write_index(path, {"schema": SCHEMA, **about, "files": files})
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
    """Delete the shards that `config.json` does not list: those of the previous save, or of one that failed.

    The temporary files of a save that was killed go as well.
    """
    try:
        listed = set(read_index(path)["files"])
    except (OSError, ValueError):
        listed = set()
    for file in path.glob("model-*.safetensors"):
        if SHARD_NAME.fullmatch(file.name) and file.name not in listed:
            file.unlink(missing_ok=True)
    for pattern in (".model-*.safetensors.tmp", f".{INDEX}.tmp"):
        for file in path.glob(pattern):
            file.unlink(missing_ok=True)


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
    try:
        data = read_regular(path, max_bytes=MAX_SHARD_BYTES)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"{path} is damaged: its SHA-256 is not the one that was saved")
    _check_header(path, data)
    try:
        tensors: dict[str, Tensor] = load(data)
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    return tensors


def _check_header(path: Path, data: bytes) -> None:
    """Raise ValueError unless a shard's header can be a model's: others take minutes or gigabytes to be read."""
    size = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + size]) if size <= MAX_HEADER_BYTES else None
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise ValueError(f"{path} is damaged: it has no header of at most {MAX_HEADER_BYTES:,} bytes")
    if len(header) > MAX_TENSORS:
        raise ValueError(f"{path} is damaged: it declares {len(header):,} tensors")
    for name, about in header.items():
        shape = about.get("shape", []) if isinstance(about, dict) else None
        if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
            raise ValueError(f"{path} is damaged: {name[:100]!r} has no shape of at most {MAX_DIMENSIONS} dimensions")


def build(make: Callable[[], Model], checkpoint: Checkpoint, directory: str | os.PathLike[str]) -> Model:
    """Return `make()` with a checkpoint's weights. Sizes are compared before any memory is taken for them.

    Raises:
        ValueError: naming the first weight that does not fit or is not finite.
    """
    with torch.device("meta"):
        sizes = {name: tensor.shape for name, tensor in make().state_dict().items()}
    for name in sorted(sizes.keys() | checkpoint.tensors.keys()):
        found, wanted = checkpoint.tensors.get(name), sizes.get(name)
        if found is None or wanted is None or found.shape != wanted:
            here = "missing" if found is None else f"of shape {tuple(found.shape)}"
            there = "none" if wanted is None else f"one of {tuple(wanted)}"
            raise ValueError(f"{directory}: the weights do not fit the config: {name} is {here}, {there} is expected")
    model = make()
    load_weights(model, checkpoint, directory)
    return model


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
