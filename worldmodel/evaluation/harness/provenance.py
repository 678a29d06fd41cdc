"""Where numbers come from: which code, which machine, which checkpoint, which recordings."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...checkpoints.checkpoint import has_part, read_index
from ...simulator import LEARNED_MAP
from .source import source as source
from .subject import Recordings, Subject
from .tokenizer_alone import TokenizerSubject, about_checkpoint

ROOT = Path(__file__).parents[3]


def code() -> dict[str, str]:
    """Return the package's version and, in a git checkout, its commit; `-dirty` behind it says that files differ."""
    found = {"version": version("worldmodel")}
    if (ROOT / ".git").exists() and (ROOT / "pyproject.toml").exists():
        command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.returncode:
            found["commit"] = done.stdout.strip()
    return found


def hardware() -> dict[str, Any]:
    """Return what the numbers that depend on a machine depend on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def checkpoint(directory: Path, subject: Subject | TokenizerSubject) -> dict[str, Any]:
    """Return which world model it is: a SHA-256 over the shards and configs of all its models, and its size.

    Raises:
        ValueError: if there is no such checkpoint in `directory`.
    """
    if isinstance(subject, TokenizerSubject):
        return about_checkpoint(directory, subject)
    indices = [read_index(directory, kind="dynamics"), read_index(directory / "tokenizer", kind="tokenizer")]
    if has_part(directory, LEARNED_MAP):
        indices.append(read_index(directory / LEARNED_MAP, kind=LEARNED_MAP))
    content = json.dumps([[index["config"], index["files"]] for index in indices], sort_keys=True)
    simulator = subject.simulator
    models = {"tokenizer": simulator.tokenizer, "dynamics": simulator.dynamics, LEARNED_MAP: simulator.learned_map}
    return {
        "fingerprint": hashlib.sha256(content.encode()).hexdigest(),
        "tokenizer": simulator.tokenizer.fingerprint(),
        "order": simulator.dynamics.config.order,
        "map": subject.without_map is not None,
        "bytes": size(directory),
        "parameters": {
            name: sum(parameter.numel() for parameter in model.parameters())
            for name, model in models.items()
            if isinstance(model, nn.Module)
        },
    }


def size(directory: Path) -> int:
    """Return the bytes of a checkpoint's files, those of its parts in folders below included."""
    return sum(file.stat().st_size for file in directory.rglob("*") if file.suffix in (".safetensors", ".json"))


def data(subject: Recordings) -> dict[str, Any]:
    """Return which recordings they are."""
    dataset = subject.dataset
    return {
        "fingerprint": dataset.fingerprint,
        "split": dataset.info.split,
        "env": dataset.info.env,
        "episodes": len(dataset),
        "frames": int(dataset.lengths.sum()),
    }


def settings(subject: Subject | TokenizerSubject) -> dict[str, Any]:
    """Return how the questions were asked."""
    asked = {
        "clips": subject.num_clips,
        "context": subject.context,
        "seed": subject.seed,
        "quick": subject.quick,
    }
    if isinstance(subject, TokenizerSubject):
        return asked
    simulator = subject.simulator
    return {
        **asked,
        "temperature": simulator.temperature,
        "top_k": simulator.top_k,
        "precision": simulator.precision,
    }
