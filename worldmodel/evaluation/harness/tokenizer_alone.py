"""A tokenizer, or a VAE, without a dynamics as what is evaluated: it can be asked some questions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...checkpoints.checkpoint import read_index
from ...runtime import default_device
from ...tokenizer.model import Tokenizer
from ...tokenizer.vae import VAE
from .subject import Recordings

QUESTIONS = ("tokenizer", "objects")
MODELS: dict[str, type[Tokenizer] | type[VAE]] = {"tokenizer": Tokenizer, "vae": VAE}  # by the kind of checkpoint


@dataclass(frozen=True, kw_only=True)
class TokenizerSubject(Recordings):
    """A model of single frames, held-out recordings, and how thoroughly the one is asked about the other."""

    tokenizer: Tokenizer | VAE

    def __post_init__(self) -> None:
        """Refuse recordings of another size than the model's.

        Raises:
            ValueError: naming what does not fit.
        """
        asked, known = self.dataset.info.frame_size, self.tokenizer.config.frame_size
        if asked != known:
            raise ValueError(
                f"{self.dataset.path} has frame_size {asked}, the model was trained with {known}; choose another --data"
            )
        super().__post_init__()

    def warm_up(self) -> None:
        """Do what is done most, for nothing: to be timed."""
        size = self.tokenizer.config.frame_size
        self.tokenizer.decode(self.tokenizer.encode(np.zeros((1, 1, size, size, 3), np.uint8)))


def kind(directory: Path) -> str | None:
    """Return the kind of a checkpoint that can be asked alone; None for any other, and for what is none."""
    try:
        found = read_index(directory)["kind"]
    except (OSError, ValueError):
        return None
    return found if found in MODELS else None


def load(directory: Path) -> Tokenizer | VAE:
    """Load the tokenizer or the VAE in `directory`.

    Raises:
        ValueError: if there is neither, or it is damaged.
    """
    return MODELS[kind(directory) or "tokenizer"].from_pretrained(directory).to(default_device())


def about_checkpoint(directory: Path, subject: TokenizerSubject) -> dict[str, Any]:
    """Return which model it is: a SHA-256 over its shards and config, what it is, and its size.

    Raises:
        ValueError: if there is no such checkpoint in `directory`.
    """
    model = subject.tokenizer
    index = read_index(directory, kind=model.kind)
    content = json.dumps([index["config"], index["files"]], sort_keys=True)
    return {
        "fingerprint": hashlib.sha256(content.encode()).hexdigest(),
        "kind": model.kind,
        "tokenizer": model.fingerprint(),
        "parameters": {model.kind: sum(parameter.numel() for parameter in model.parameters())},
    }
