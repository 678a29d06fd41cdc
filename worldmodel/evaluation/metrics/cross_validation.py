"""The inverse-dynamics probes of all folds of a data set, trained once for all questions that ask them.

The episodes are dealt into folds, each fold has a probe trained on all other folds, and a clip is labelled by the probe
of its own fold. What was trained is kept beside the answers, under a SHA-256 of what it was made of.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ...rollouts import EpisodeDataset
from ...rollouts.manifest import write_atomically
from ...types import Report
from ..harness.clips import Clips
from ..harness.subject import Recordings
from . import probe as recipe
from .probe import Probe, draw_examples, see, shrink, stacked, train_probe

Number = TypeVar("Number", int, Tensor)

FOLDS = 3
MAX_EXAMPLES = 18_000  # of all episodes, of which a probe is trained on two thirds


@dataclass(frozen=True, kw_only=True)
class CrossValidatedProbes:
    """One probe for each fold of the episodes, none of which has seen its own fold."""

    probes: list[Probe]
    action_names: tuple[str, ...]

    def folds(self, clips: Clips) -> np.ndarray:
        """Return the fold of each clip, int64 (b)."""
        return np.array([fold_of(episode, len(self.probes)) for episode, _ in clips.places], dtype=np.int64)

    def label(self, frames: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """Return int64 (b t-2): what seems to have been done between frames 2 and 3, 3 and 4 ... of (b t H W 3)."""
        return self._apply(lambda probe, seen: probe(seen).argmax(-1), frames, folds).astype(np.int64)

    def features(self, frames: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """Return float32 (b t-2 d): the penultimate layer on each stack of uint8 (b t H W 3).

        Those of different folds come from different networks and cannot be compared.
        """
        return self._apply(lambda probe, seen: probe.features(seen), frames, folds)

    @torch.inference_mode()
    def _apply(self, ask: Callable[[Probe, Tensor], Tensor], frames: np.ndarray, folds: np.ndarray) -> np.ndarray:
        answers = [
            ask(self.probes[fold], see(stacked(shrink(clip)))).numpy() for clip, fold in zip(frames, folds, strict=True)
        ]
        return np.stack(answers)


def fold_of(episode: Number, folds: int) -> Number:
    """Return the fold of an episode, or of each of several: they are dealt to the folds in turn."""
    return episode % folds


def probes_for(subject: Recordings, report: Report = lambda done, total: None) -> CrossValidatedProbes:
    """Return the probes of a subject's recordings; one that is in its cache is taken from there.

    Whoever comes while another process trains it waits: that is quicker than to train it, too.

    Raises:
        ValueError: if there is only one episode, of which nothing could be held out.
    """
    if subject.cache is None:
        return train_probes(subject.dataset, seed=subject.seed, quick=subject.quick, report=report)
    subject.cache.mkdir(parents=True, exist_ok=True)
    file = subject.cache / f"probe-{_key(subject)}.safetensors"
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        probes = _kept(file, subject.dataset)
        if probes is None:
            probes = train_probes(subject.dataset, seed=subject.seed, quick=subject.quick, report=report)
            write_atomically(file, save(_tensors(probes)))
    report(1, 1)
    return probes


def train_probes(
    dataset: EpisodeDataset, *, seed: int, quick: bool = False, report: Report = lambda done, total: None
) -> CrossValidatedProbes:
    """Return a probe for each fold.

    Raises:
        ValueError: if there is only one episode, of which nothing could be held out.
    """
    count = len(dataset)
    if count < 2:
        raise ValueError(f"a probe needs at least 2 episodes, one of them held out; the data has {count}")
    folds = min(FOLDS, count)
    names, probes, done = dataset.info.action_names, [], 0

    def on_step() -> None:
        nonlocal done
        done += 1
        report(done, folds * recipe.STEPS)

    examples = draw_examples(dataset, number=MAX_EXAMPLES // (4 if quick else 1), seed=seed)
    for fold in range(folds):
        others = examples.of(fold_of(examples.episodes, folds) != fold)
        probes.append(train_probe(others, names, seed=seed + fold, steps=recipe.STEPS, on_step=on_step))
    return CrossValidatedProbes(probes=probes, action_names=tuple(names))


def _key(subject: Recordings) -> str:
    source = b"".join(Path(str(file)).read_bytes() for file in (recipe.__file__, __file__))
    asked = [subject.dataset.fingerprint, subject.seed, subject.quick, recipe.STEPS, torch.__version__]
    return hashlib.sha256(json.dumps(asked).encode() + source).hexdigest()[:16]


def _tensors(probes: CrossValidatedProbes) -> dict[str, Tensor]:
    states = ((fold, probe.state_dict()) for fold, probe in enumerate(probes.probes))
    return {f"{fold}.{name}": tensor for fold, state in states for name, tensor in state.items()}


def _kept(file: Path, dataset: EpisodeDataset) -> CrossValidatedProbes | None:
    """Return the probes in `file`; None if there is none, or a damaged one."""
    names = tuple(dataset.info.action_names)
    try:
        tensors = load_file(file)
        probes = [Probe(len(names)).eval() for _ in range(min(FOLDS, len(dataset)))]
        for fold, probe in enumerate(probes):
            mine = {name.partition(".")[2]: tensor for name, tensor in tensors.items() if name.startswith(f"{fold}.")}
            probe.load_state_dict(mine, strict=True)
    except (OSError, SafetensorError, RuntimeError):
        return None
    return CrossValidatedProbes(probes=probes, action_names=names)
