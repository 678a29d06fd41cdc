"""The training state on disk: everything a resumed run needs to be the uninterrupted run, without pickle."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.optim.swa_utils import AveragedModel

from ..checkpoints.checkpoint import INDEX, Checkpoint, read, write
from ..config import defaults, to_dict

DIRECTORY = "training"


def has_state(out: Path) -> bool:
    """Whether `out` holds a training run."""
    return (out / DIRECTORY / INDEX).exists()


def save_state(
    out: Path,
    model: nn.Module,
    mean: AveragedModel,
    optimizers: list[optim.Optimizer],
    *,
    config: dict[str, Any],
    progress: dict[str, Any],
) -> None:
    """Write weights, averaged weights and optimizer statistics to `out/training`, atomically."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"mean.{name}": tensor for name, tensor in mean.state_dict().items()}
    for i, optimizer in enumerate(optimizers):
        for j, values in optimizer.state_dict()["state"].items():
            for name, value in values.items():
                tensors[f"optimizer.{i}.{j}.{name}"] = torch.as_tensor(value)
    content = {name: to_dict(value) if is_dataclass(value) else value for name, value in config.items()}
    write(out / DIRECTORY, Checkpoint(kind="training", config=content, metrics=progress, tensors=tensors))


def load_state(
    out: Path,
    model: nn.Module,
    mean: AveragedModel,
    optimizers: list[optim.Optimizer],
    *,
    config: dict[str, Any],
    free: Collection[str] = (),
) -> dict[str, Any]:
    """Restore what `save_state` wrote and return its `progress`. The settings `free` may differ.

    Raises:
        ValueError: if there is no intact state, or it belongs to a run with another config.
    """
    state = read(out / DIRECTORY, kind="training")
    changed = list(_changes(config, state.config, free))
    if changed:
        was = ", ".join(changed)
        raise ValueError(f"{out} was trained with {was}; resume with the same settings or choose another --out")
    model.load_state_dict(_below("model.", state.tensors))
    mean.load_state_dict(_below("mean.", state.tensors))
    for i, optimizer in enumerate(optimizers):
        content = optimizer.state_dict()
        values: dict[int, dict[str, Tensor]] = {}
        for key, tensor in _below(f"optimizer.{i}.", state.tensors).items():
            j, name = key.split(".", 1)
            values.setdefault(int(j), {})[name] = tensor
        optimizer.load_state_dict({"state": values, "param_groups": content["param_groups"]})
        _lay_out_like_weights(optimizer)
    return state.metrics


def _changes(config: dict[str, Any], saved: dict[str, Any], free: Collection[str]) -> Iterator[str]:
    """Yield `name=value` for what a saved run had otherwise. A setting that it did not know yet had its default."""
    for name, value in sorted(config.items()):
        if not is_dataclass(value):
            if value != saved.get(name):
                yield f"{name}={saved.get(name)!r}"
            continue
        before = defaults(value) | saved.get(name, {})
        for setting, now in to_dict(value).items():
            if setting not in free and now != before.get(setting):
                yield f"{setting}={before.get(setting)!r}"


def _lay_out_like_weights(optimizer: optim.Optimizer) -> None:
    """Give each statistic its weight's memory layout: fused kernels walk through both as if they were alike."""
    for weight, values in optimizer.state.items():
        for name, value in values.items():
            if value.shape == weight.shape:
                values[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
