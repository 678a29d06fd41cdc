"""Imagined codes, kept beside the answers: several questions imagine the same futures of the same clips."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from ...rollouts.manifest import write_atomically
from ...simulator import Simulator
from ...types import Codes
from .source import source


@dataclass(frozen=True)
class KeptCodes:
    """A folder of codes that one simulator imagined.

    Args:
        directory: of the files.
        identity: what the codes depend on besides the context, the actions and the seed: see `identity_of`.
    """

    directory: Path
    identity: str

    def take(self, asked: bytes, imagine: Callable[[], Codes]) -> Codes:
        """Return the codes kept under what was asked, or those that `imagine` returns, which are kept.

        Whoever comes while another process imagines them waits: that is quicker than to imagine them, too.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(self.identity.encode() + asked).hexdigest()[:32]
        file = self.directory / f"{name}.safetensors"
        with file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                return load_file(file)["codes"].long()
            except (OSError, SafetensorError, KeyError):  # not there, or damaged
                codes = imagine()
                write_atomically(file, save({"codes": codes.to(torch.int32).cpu().contiguous()}))
                return codes


def identity_of(simulator: Simulator) -> str:
    """Return a SHA-256 over a simulator's weights and settings, and the package's code."""
    found = hashlib.sha256(source().encode())
    models = (simulator.tokenizer, simulator.dynamics, simulator.learned_map)
    for model in (model for model in models if isinstance(model, nn.Module)):
        for name, tensor in sorted(model.state_dict().items()):
            found.update(
                name.encode() + tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
            )
    settings = [simulator.temperature, simulator.top_k, simulator.precision, simulator.use_map]
    settings += [type(simulator.sampler).__name__, torch.__version__]
    return hashlib.sha256(found.digest() + json.dumps(settings).encode()).hexdigest()
