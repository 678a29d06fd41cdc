"""One thread a test process, a directory for each test, and shapes and types checked where the vocabulary is spoken."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

torch.set_num_threads(1)

# jaxtyping finds its checker by name. An int is a float, as everywhere in Python.
checker = types.ModuleType("annotation_checker")
checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # type: ignore[attr-defined]
sys.modules[checker.__name__] = checker
DYNAMICS = ("cache", "context", "decoder", "layers", "noise", "numpy_decoder", "order", "samplers", "sampling")
CHECKED = ["worldmodel.tokenizer", "worldmodel.simulator", *(f"worldmodel.dynamics.{name}" for name in DYNAMICS)]
install_import_hook(CHECKED, "annotation_checker.check")


@pytest.fixture(autouse=True)
def directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts in an empty directory: nothing works only because it runs in the repository."""
    monkeypatch.chdir(tmp_path)
