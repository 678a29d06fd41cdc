"""What is evaluated, on what, and those that stand beside it: each imagines the future of the same clips."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ...rollouts import EpisodeDataset
from ...simulator import Simulator
from ...types import UNKNOWN_ACTION, Codes
from .clips import Clips, draw_clips
from .kept_codes import KeptCodes, identity_of

CLIPS_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """Held-out recordings, and how thoroughly something is asked about them."""

    dataset: EpisodeDataset
    num_clips: int = 40
    context: int = 6
    seed: int = 0
    quick: bool = False  # a tenth of the work: enough to see that it works, too noisy to compare
    cache: Path | None = None  # a directory for what several questions need; without one, each makes it for itself

    def __post_init__(self) -> None:
        """Refuse a context of no frame.

        Raises:
            ValueError: saying so.
        """
        if self.context < 1:
            raise ValueError(f"context must be at least 1 frame, got {self.context}")

    def few(self, number: int) -> int:
        """Return how many of so many clips or videos are asked about: a quick look takes a tenth, at least two."""
        return max(2, number // 10) if self.quick else number

    def clips(self, horizon: int, *, number: int | None = None) -> Clips:
        """Return clips of the context and `horizon` frames after it, the same ones every time."""
        return draw_clips(self.dataset, frames=self.context + horizon, number=number or self.num_clips, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class Subject(Recordings):
    """A world model, held-out recordings, and how thoroughly the one is asked about the other.

    Args:
        simulator: the model as it is used.
        without_map: the same checkpoint with its learned map switched off; None where it has no map.
    """

    simulator: Simulator
    without_map: Simulator | None = None

    def __post_init__(self) -> None:
        """Refuse recordings of another game than the one the model has learned.

        Raises:
            ValueError: naming what does not fit.
        """
        model, info = self.simulator, self.dataset.info
        for name in ("frame_size", "frame_skip", "action_names"):
            asked, known = getattr(info, name), getattr(model, name)
            if asked != known:
                raise ValueError(
                    f"{self.dataset.path} has {name} {asked}, the model was trained with {known}; choose another --data"
                )
        super().__post_init__()

    @functools.cached_property
    def simulators(self) -> dict[str, Simulator]:
        """The rows of a table that are a model's: "model", and "without_map" where it has one."""
        found = {"model": self.simulator}
        return found if self.without_map is None else found | {"without_map": self.without_map}

    @functools.cached_property
    def conditional(self) -> dict[str, Conditional]:
        """The rows that are a model's as imaginers. What they imagine is kept where there is a cache."""
        return {row: Conditional(simulator, kept=self._kept(simulator)) for row, simulator in self.simulators.items()}

    @functools.cached_property
    def unconditional(self) -> Unconditional:
        """The model without actions. What it imagines is kept where there is a cache."""
        return Unconditional(self.simulator, kept=self._kept(self.simulator))

    def imaginers(self) -> dict[str, Imaginer]:
        """Return the rows of every table of imagined video: the models, the model without actions, and copy-last."""
        return {**self.conditional, "no_actions": self.unconditional, "copy_last": copy_last}

    def _kept(self, simulator: Simulator) -> KeptCodes | None:
        return KeptCodes(self.cache / "imagined", identity_of(simulator)) if self.cache else None

    def wrong_actions(self, clips: Clips) -> np.ndarray:
        """Return for each action of clips another one of the game's, drawn uniformly: int64 (b t-1), the same ones
        every time; a game of a single action has no other.
        """
        number = len(self.dataset.info.action_names)
        rng = np.random.default_rng(self.seed)
        wrong: np.ndarray = (clips.actions + rng.integers(1, max(2, number), clips.actions.shape)) % number
        return wrong

    def warm_up(self) -> None:
        """Do what is done most, for nothing: to be timed."""
        self.simulator.warm_up()


def without_map(simulator: Simulator) -> Simulator | None:
    """Return the same models with the learned map switched off; None where there is no map, or it is off already."""
    if not simulator.use_map:
        return None
    return Simulator(
        simulator.tokenizer,
        simulator.dynamics,
        simulator.learned_map,
        use_map=False,
        temperature=simulator.temperature,
        top_k=simulator.top_k,
        precision=simulator.precision,
        env=simulator.env,
    )


class Imaginer(Protocol):
    """Predicts the frames after a context: a world model, a baseline, or an oracle."""

    def __call__(self, clips: Clips, future: np.ndarray, *, context: int, seed: int) -> np.ndarray:
        """Return uint8 (b n H W 3): what follows each clip's first `context` frames under actions `future` (b n)."""


class Conditional:
    """The world model, given the actions.

    Where one context is given several times in a row, under other actions or with other noise, it is taken in once.
    """

    def __init__(self, simulator: Simulator, *, kept: KeptCodes | None = None) -> None:
        self.simulator = simulator
        self.kept = kept
        self._begun: tuple[bytes, Simulator] | None = None  # the context last given, and who has taken it in

    def __call__(self, clips: Clips, future: np.ndarray, *, context: int, seed: int) -> np.ndarray:
        """Return uint8 (b n H W 3)."""
        codes = self.codes(clips, future, context=context, seed=seed)
        return np.concatenate([self.simulator.decode(codes[part]) for part in slices(len(codes))])

    def codes(self, clips: Clips, future: np.ndarray, *, context: int, seed: int) -> Codes:
        """Return the codes of what is imagined (b n h w)."""
        parts = []
        for part in slices(len(clips.frames)):
            some = clips[part]
            known = some.actions[:, : context - 1]
            parts.append(self._imagine(some.frames[:, :context], known, future[part], seed=seed + part.start))
        return torch.cat(parts)

    def _imagine(self, past: np.ndarray, known: np.ndarray, asked: np.ndarray, *, seed: int) -> Codes:
        if self.kept is None:
            return self._codes(past, known, asked, seed=seed)
        named = b"".join([part.tobytes() for part in (past, known, asked)] + [f"{past.shape} {seed}".encode()])
        codes = self.kept.take(named, lambda: self._codes(past, known, asked, seed=seed))
        return codes.to(self.simulator.dynamics.device)

    def _codes(self, past: np.ndarray, known: np.ndarray, asked: np.ndarray, *, seed: int) -> Codes:
        simulator = self._after(past, known).fork()
        simulator.seed(seed)
        return torch.stack([simulator.step(asked[:, i]) for i in range(asked.shape[1])], dim=1)

    def _after(self, past: np.ndarray, known: np.ndarray) -> Simulator:
        """Return a simulator that has taken in a context."""
        key = hashlib.sha256(past.tobytes() + known.tobytes()).digest()
        if self._begun is None or self._begun[0] != key:
            simulator = self.simulator.fork()
            simulator.reset(past, known)
            self._begun = key, simulator
        return self._begun[1]


class Unconditional(Conditional):
    """The same world model, given no action at all."""

    def _imagine(self, past: np.ndarray, known: np.ndarray, asked: np.ndarray, *, seed: int) -> Codes:
        return super()._imagine(
            past, np.full_like(known, UNKNOWN_ACTION), np.full_like(asked, UNKNOWN_ACTION), seed=seed
        )


def slices(number: int) -> Iterator[slice]:
    """Yield the slices in which so many clips are imagined: a larger batch is no quicker and needs more memory."""
    for start in range(0, number, CLIPS_AT_ONCE):
        yield slice(start, min(start + CLIPS_AT_ONCE, number))


def copy_last(clips: Clips, future: np.ndarray, *, context: int, seed: int) -> np.ndarray:
    """Hold the last context frame: the baseline that knows nothing."""
    last = clips.frames[:, context - 1 : context]
    return np.repeat(last, future.shape[1], axis=1)
