"""What NumPy's and torch's libraries read from the environment when they are loaded, so before either is imported."""

from __future__ import annotations

import os
import re
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
SKYLAKE_FLAGS = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}
ZEN_5 = 26  # the family of AMD's first processors that OpenBLAS 0.3.31, NumPy 2.5's, does not know


def prepare_libraries() -> None:
    """Set what makes this package faster; what the user has set stays."""
    # For products of a dozen rows a second thread of OpenBLAS's own is in the way.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    core = openblas_core(CPU_INFO.read_text(errors="replace") if CPU_INFO.is_file() else "")
    if core:
        os.environ.setdefault("OPENBLAS_CORETYPE", core)
    # Threads of torch sleep while they wait, and large tensors lie in huge pages, without which a fifth of training
    # goes into page faults.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def openblas_core(cpu_info: str) -> str | None:
    """Return the kernels that OpenBLAS should use on the processor of Linux's `cpu_info`; None if it knows best.

    It takes an AMD processor that is newer than itself for one without AVX512: imagining one game is a quarter slower.
    """
    fields = dict(re.findall(r"^([^\t:]+?)\s*: (.*)$", cpu_info.partition("\n\n")[0], re.MULTILINE))
    family = fields.get("cpu family", "")
    is_new = fields.get("vendor_id") == "AuthenticAMD" and family.isdecimal() and int(family) >= ZEN_5
    return "SkylakeX" if is_new and set(fields.get("flags", "").split()) >= SKYLAKE_FLAGS else None
