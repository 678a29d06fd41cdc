"""Checkpoints: a directory with `config.json` and safetensors shards, verified when loaded, never half replaced.

`config.json` (see index.py) holds the kind of model, its config, its metrics and the SHA-256 of every shard. There are
shards for each module of the model, with a part of their hash in their name: a new save never touches the files of the
old one, and a module that did not change keeps its file. Replacing `config.json` is the one step that makes the new
save the checkpoint. Nothing is ever unpickled.
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

from ..rollouts.files import read_regular
from ..rollouts.manifest import write_atomically
from . import upgrade
from .index import FILE as INDEX
from .index import SCHEMA, SHARD_NAME, has_part, home, read_index, write_index
from .quantization import dequantized

__all__ = ["INDEX", "Checkpoint", "build", "has_part", "load_weights", "read", "read_index", "write"]

SHARD_BYTES = 15 * 2**20
MAX_SHARD_BYTES = 4 * 2**30  # a single tensor may be larger than SHARD_BYTES
MAX_HEADER_BYTES = 8 * 2**20
MAX_TENSORS, MAX_DIMENSIONS = 50_000, 8

Model = TypeVar("Model", bound=nn.Module)


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
        about = {"kind": checkpoint.kind, "config": checkpoint.config, "metrics": checkpoint.metrics}
        write_index(path, {"schema": SCHEMA, **about, "files": files})
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
    """Delete the shards that `config.json` does not list: those of the previous save, or of one that failed.

    The temporary files of a save that was killed go as well.
    """
    try:
        listed = set(read_index(path)["files"])
    except (OSError, ValueError):
        listed = set()
    for file in path.glob("*.safetensors"):
        if SHARD_NAME.fullmatch(file.name) and file.name not in listed:
            file.unlink(missing_ok=True)
    for pattern in (".*.safetensors.tmp", f".{INDEX}.tmp"):
        for file in path.glob(pattern):
            file.unlink(missing_ok=True)


def read(directory: str | os.PathLike[str], *, kind: str) -> Checkpoint:
    """Load and verify a checkpoint.

    Raises:
        ValueError: if it is missing, of another kind, or any byte of it is not what was saved.
    """
    index, where = read_index(directory, kind=kind), home(Path(directory), kind)
    tensors: dict[str, Tensor] = {}
    for name, digest in index["files"].items():
        tensors |= _read_shard(where / name, digest)
    try:
        tensors = dequantized(tensors)
    except ValueError as error:
        raise ValueError(f"{where}: the weights do not fit together: {error}") from None
    if index["schema"] == upgrade.SCHEMA:
        tensors = upgrade.upgraded_weights(kind, tensors)
    return Checkpoint(kind=kind, config=index["config"], metrics=index["metrics"], tensors=tensors)


def _read_shard(path: Path, digest: str) -> dict[str, Tensor]:
    try:
        data = read_regular(path, max_bytes=MAX_SHARD_BYTES)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; copy the whole directory") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"{path} is damaged: its SHA-256 is not the one that was saved; copy it anew")
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
