"""Weights in eight bits: a matrix as int8 with one scale a row (symmetric, nearest), read back in single precision."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = "#scale"  # after a weight's name: the name of its scales; no module's attribute can be called so
LARGEST = 127


def quantized(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Return what is stored in place of `tensor` (rows ...): int8 of its shape, and its scales, bfloat16 (rows).

    No value is off by more than half a step of its row, 1/254 of the row's largest value (1/253: the scale is rounded).

    Raises:
        ValueError: if a value is not finite.
    """
    rows = tensor.detach().float().flatten(1)
    scales = (rows.abs().amax(1) / LARGEST).bfloat16()
    if not scales.isfinite().all():
        raise ValueError(f"{name} has values that are not finite")
    steps = torch.where(scales == 0, 1.0, scales.float())[:, None]  # a row of zeros has no scale
    whole = (rows / steps).round().clamp(-LARGEST, LARGEST)
    return {name: whole.to(torch.int8).view(tensor.shape), name + SCALE: scales}


def dequantized(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return stored tensors with those of eight bits in single precision, and without the scales.

    Raises:
        ValueError: if a tensor of eight bits and its scales do not belong together.
    """
    weights = {name: tensor for name, tensor in tensors.items() if not name.endswith(SCALE)}
    for name, tensor in weights.items():
        scales = tensors.get(name + SCALE)
        if tensor.dtype != torch.int8 and scales is None:
            continue
        if scales is None or tensor.dtype != torch.int8 or not tensor.ndim or scales.shape != tensor.shape[:1]:
            raise ValueError(f"{name} is not int8 with one scale a row")
        weights[name] = (tensor.flatten(1).float() * scales.float()[:, None]).view(tensor.shape)
    if stray := sorted({name.removesuffix(SCALE) for name in tensors} - weights.keys()):
        raise ValueError(f"{stray[0]} has scales and no values")
    return weights
