"""The machine a model runs on: device, number format and threads."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


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


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next step instead of giving it back to the system.

    A training step allocates and frees hundreds of tensors of megabytes. By default glibc maps each anew, and the
    system clears every page of it again: a fifth of a step, and a tenth of one of many imagined games. Another C
    library is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def choose_threads(work: Callable[[], object], *, rounds: int = 3) -> int:
    """Use the number of threads with which `work` is quickest, measured here and now, and return it.

    More threads than one have to be a tenth quicker: where another process wants the core, threads wait for each other.
    OMP_NUM_THREADS, if set, decides instead.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    counts = [1]
    while counts[-1] * 2 <= len(_cores()):
        counts.append(counts[-1] * 2)
    best, best_seconds = 1, float("inf")
    for count in counts:
        torch.set_num_threads(count)
        work()
        seconds = min(_seconds(work) for _ in range(rounds))
        if seconds < 0.9 * best_seconds:
            best, best_seconds = count, seconds
    torch.set_num_threads(best)
    return best


@contextlib.contextmanager
def limited_threads(number: int | None) -> Iterator[None]:
    """Let torch use at most `number` threads within; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if number is None else min(before, number))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cores() -> set[int]:
    """Return the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def single_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return a context in which nothing is cast to half precision, autocast or not."""
    if device.type == "meta":  # where operations are only counted
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)
