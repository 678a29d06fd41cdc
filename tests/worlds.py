"""A recorded toy world and a tiny saved model that fits it, for tests of what uses both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.models import tiny_dynamics, tiny_map, tiny_tokenizer
from worldmodel.checkpoints.checkpoint import Checkpoint, write
from worldmodel.config import to_dict
from worldmodel.learned_map.map import LearnedMap
from worldmodel.rollouts import CollectConfig, Goal, collect
from worldmodel.simulator import Simulator
from worldmodel.training.learned_map import save_learned_map
from worldmodel.training.tokenizer import save_tokenizer


def record_toy(path: Path, *, frame_size: int = 32, episodes: int = 3) -> Path:
    """Record the toy world, at the size and frame skip of the tiny models."""
    collect(CollectConfig(env="toy", frame_size=frame_size, policy="random"), path, goal=Goal(episodes=episodes))
    return path


def tiny_simulator(*, has_map: bool = False, **settings: object) -> Simulator:
    """A simulator of 32x32 frames with random weights; a window of 8 frames."""
    tokenizer = tiny_tokenizer()
    dynamics = tiny_dynamics(codebook=tokenizer.codebook.vectors, window=8, expectation=has_map)
    learned_map = tiny_map(dynamics) if has_map else None
    return Simulator(tokenizer, dynamics, learned_map, precision="float32", **settings)  # type: ignore[arg-type]


def save_simulator(path: Path, *, has_map: bool = False, env: str | None = None) -> Path:
    """Write the checkpoint of a tiny simulator, as train-dynamics does, trained on `env` if that is to be known."""
    simulator = tiny_simulator(has_map=has_map)
    fingerprint = simulator.tokenizer.fingerprint()
    save_tokenizer(simulator.tokenizer, path / "tokenizer", {})
    if isinstance(simulator.learned_map, LearnedMap):
        save_learned_map(simulator.learned_map, path / "learned_map", {}, tokenizer=fingerprint)
    config = to_dict(simulator.dynamics.config) | {"tokenizer": fingerprint}
    metrics = {} if env is None else {"env": env}
    tensors = dict(simulator.dynamics.state_dict())
    write(path, Checkpoint(kind="dynamics", config=config, metrics=metrics, tensors=tensors))
    return path


def tiny_outcome_simulator(**settings: object) -> Simulator:
    """A simulator of 32x32 frames with reward and end heads and without a map; all its weights are random."""
    tokenizer = tiny_tokenizer()
    dynamics = tiny_dynamics(codebook=tokenizer.codebook.vectors, window=4, rewards=(-1.0, 0.0, 5.0), end_weight=10.0)
    return Simulator(tokenizer, dynamics, precision="float32", **settings)  # type: ignore[arg-type]


def save_outcome_simulator(path: Path) -> Path:
    """Write the checkpoint of a tiny simulator with heads, as train-dynamics does."""
    simulator = tiny_outcome_simulator()
    save_tokenizer(simulator.tokenizer, path / "tokenizer", {})
    config = to_dict(simulator.dynamics.config) | {"tokenizer": simulator.tokenizer.fingerprint()}
    write(path, Checkpoint(kind="dynamics", config=config, metrics={}, tensors=dict(simulator.dynamics.state_dict())))
    return path


def random_contexts(lengths: Sequence[int], *, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Contexts of noise for the tiny models, with so many frames."""
    rng = np.random.default_rng(seed)
    return [(rng.integers(0, 256, (t, 32, 32, 3), dtype=np.uint8), rng.integers(0, 4, t - 1)) for t in lengths]
