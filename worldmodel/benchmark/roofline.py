"""What a machine can do at most, measured, and what a computation asks of it: FLOPs and bytes.

A computation cannot take less time than its matrix products at the speed of the machine's best product, or its bytes at
the speed of the machine's memory, whichever is longer: its roofline (Williams et al. 2009).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

PRODUCT_SIZE = {"cpu": 1024, "cuda": 8192}  # a side of the matrices: large enough for the best speed
COPY_BYTES = {"cpu": 2**28, "cuda": 2**31}  # far more than any cache holds
MIN_REPEATS = 3


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """What one process with its own threads reaches at best."""

    bfloat16: float  # FLOPs a second in matrix products
    float32: float
    memory: float  # bytes a second, read and written

    @classmethod
    def measure(cls, device: torch.device) -> Ceilings:
        """Measure all three, in about a second."""
        return cls(
            bfloat16=product_speed(torch.bfloat16, device),
            float32=product_speed(torch.float32, device),
            memory=memory_speed(device),
        )

    def products(self, dtype: torch.dtype) -> float:
        """Return the FLOPs a second of matrix products in `dtype`."""
        return self.bfloat16 if dtype == torch.bfloat16 else self.float32


@torch.no_grad()
def product_speed(dtype: torch.dtype, device: torch.device, *, seconds: float = 0.15) -> float:
    """Return the FLOPs a second of the best of the square matrix products that `seconds` are enough for."""
    size = PRODUCT_SIZE[device.type]
    a, b = torch.ones(2, size, size, dtype=dtype, device=device)
    out = torch.empty_like(a)
    return 2 * size**3 / _best(lambda: torch.mm(a, b, out=out), device, seconds)


@torch.no_grad()
def memory_speed(device: torch.device, *, seconds: float = 0.3) -> float:
    """Return the bytes a second, read and written, of the best of the large copies that `seconds` are enough for."""
    source = torch.ones(COPY_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.ones_like(source)
    return 2 * source.nbytes / _best(lambda: target.copy_(source), device, seconds)


def _best(function: Callable[[], Tensor], device: torch.device, seconds: float) -> float:
    """Return the seconds of the fastest of a few calls, after one that warms up."""
    function()
    times: list[float] = []
    while len(times) < MIN_REPEATS or sum(times) < seconds:
        began = now(device)
        function()
        times.append(now(device) - began)
    return min(times)


def now(device: torch.device) -> float:
    """Return the time in seconds when all that was asked of `device` so far is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def count_flops(function: Callable[[], object]) -> int:
    """Return the FLOPs of the matrix products, attentions and convolutions that `function` computes.

    A multiplication and an addition are two. Elementwise work is not counted: it is bound by memory.
    """
    # Attention written out as two products is counted on every device; not every fused kernel is.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        function()
    total: int = counter.get_total_flops()
    return total


def weight_bytes(module: nn.Module, dtype: torch.dtype) -> int:
    """Return the bytes of a module's weights in `dtype`."""
    return sum(parameter.numel() for parameter in module.parameters()) * dtype.itemsize
