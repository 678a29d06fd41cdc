"""The machine a model runs on: device, number format and threads."""

from __future__ import annotations

import functools
import os

import torch


def default_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@functools.cache
def bfloat16_is_fast(device_type: str) -> bool:
    """Return whether products of bfloat16 matrices run in hardware: GPUs, and CPUs with AVX512-BF16 or AMX."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    flags = torch.backends.mkldnn.is_available() and _cpu_flags()
    return bool(flags and {"avx512_bf16", "amx_bf16"} & flags)


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return set()
    return set(line.split())


def use_bfloat16(precision: str, device: torch.device) -> bool:
    """Return whether to compute in bfloat16 under `precision`: "auto", "float32" or "bfloat16"."""
    return precision == "bfloat16" or (precision == "auto" and bfloat16_is_fast(device.type))


def autocast(device: torch.device, *, precision: str = "auto") -> torch.autocast:
    """Return the context in which a model computes on `device`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=use_bfloat16(precision, device))


def limit_threads() -> None:
    """Use at most one thread a core; leave the count alone where OMP_NUM_THREADS sets it."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), os.cpu_count() or 1))
