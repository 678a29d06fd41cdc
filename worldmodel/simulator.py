"""The world model with state: reset it with real frames, then step it with actions. It answers in codes.

Nothing here decodes while imagining: `imagine` samples the last code before the first pixel is made.
"""

from __future__ import annotations

import copy
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .checkpoint import read_index
from .dynamics.cache import ContextCache
from .dynamics.model import Dynamics
from .dynamics.samplers import make_sampler
from .dynamics.sampling import check_sampling, gumbel_noise
from .runtime import autocast, default_device
from .tokenizer.model import Tokenizer
from .types import NO_ACTION, ActionsBetween, Codes, FrameCodes, Frames

CLOSE_LOOKS = 2  # frames, the last of a past: all that follows goes on from where they are seen
PRETRAINED = Path(__file__).parent / "pretrained" / "dynamics"


@dataclass(frozen=True, kw_only=True)
class Imagined:
    """An imagined future."""

    frames: Frames  # uint8 (b n H W 3)
    codes: Codes  # (b n h w)
    seconds_dynamics: float
    seconds_decode: float

    @property
    def frames_per_second(self) -> float:
        """Imagined frames of one video a second, decoding included."""
        return self.codes.shape[1] / (self.seconds_dynamics + self.seconds_decode)


class Simulator:
    """A game that is imagined: `reset` with context, then `step` with actions.

    Args:
        tokenizer: frames <-> codes.
        dynamics: past codes and actions -> next codes, trained on this tokenizer's codes.
        temperature: of sampling; 0 takes the likeliest code.
        top_k: sample among so many likeliest codes; 0 means all.
        precision: "auto" (bfloat16 where the hardware has it), "float32" or "bfloat16".
        engine: what draws the codes, "numpy", "torch", or "auto": NumPy on a CPU.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        dynamics: Dynamics,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        precision: str = "auto",
        engine: str = "auto",
    ) -> None:
        check_sampling(temperature, top_k)
        self.tokenizer = tokenizer
        self.dynamics = dynamics
        self.temperature, self.top_k, self.precision = temperature, top_k, precision
        self.sampler = make_sampler(dynamics, engine, precision=precision)
        self._frozen = dynamics.frozen(precision=precision)
        self.generator = torch.Generator()
        self._cache: ContextCache | None = None
        self._past: tuple[Tensor, ContextCache] | None = None  # the last one that was taken in, and its memory
        self._rehearsed: ContextCache | None = None  # the memory of what is done for nothing
        self._latest: Tensor | None = None  # the newest frame's codes, not yet taken in: its action is not known

    @property
    def action_names(self) -> tuple[str, ...]:
        return self.dynamics.config.action_names

    @property
    def window(self) -> int:
        """How many frames the dynamics attends to."""
        return self.dynamics.config.window

    @property
    def frames_per_second(self) -> float:
        """Of the game in real time."""
        return self.dynamics.config.frames_per_second

    @property
    def frame_skip(self) -> int:
        return self.dynamics.config.frame_skip

    @property
    def frame_size(self) -> int:
        return self.tokenizer.config.frame_size

    def seed(self, seed: int) -> None:
        """Make what follows repeatable."""
        self.generator.manual_seed(seed)

    @torch.inference_mode()
    def rehearse(self) -> None:
        """Do what a step does on the device, for nothing: to warm up, or to be timed. The state stays as it is."""
        grid = self.dynamics.config.code_grid
        codes = torch.zeros(1, grid, grid, dtype=torch.int64, device=self.dynamics.device)
        with autocast(self.dynamics.device, precision=self.precision):
            if self._rehearsed is None:
                self._rehearsed = self._frozen.new_cache()
                self._frozen.observe(codes, codes[:, 0, 0], self._rehearsed)
                self._rehearsed.imagined = True
            self._frozen.observe(codes, codes[:, 0, 0], self._rehearsed)
        self.decode(codes[:, None])

    def reset(self, frames: Frames, actions: np.ndarray) -> None:
        """Begin from real frames: uint8 (b t H W 3), and what was done between them: (b t-1), -1 where it is not known.

        Raises:
            ValueError: if the shapes do not fit, or an action is not one of the model's.
        """
        if frames.ndim != 5 or not frames.shape[1]:
            raise ValueError(f"frames must be (b t H W 3) with at least one frame, got {frames.shape}")
        with torch.inference_mode(), autocast(self.tokenizer.device, precision=self.precision):
            codes = self.tokenizer.encode(frames)
        self.reset_codes(codes, torch.as_tensor(actions, dtype=torch.int64))

    @torch.inference_mode()
    def reset_codes(self, codes: Codes, actions: Tensor) -> None:
        """The same from codes (b t h w) and actions (b t-1). A past is taken in once, for several rows and calls."""
        b, t = codes.shape[:2]
        actions = self._check_actions(actions, (b, t - 1))
        whole = torch.cat([codes.flatten(1).to(actions.device), actions], dim=1)
        pasts, rows = whole.unique(dim=0, return_inverse=True)
        if self._past is None or not torch.equal(self._past[0], pasts):
            once, between = pasts.split([whole.shape[1] - (t - 1), t - 1], dim=1)
            self._past = (pasts, self._take_in(once.unflatten(1, codes.shape[1:]), between))
        self._cache = copy.deepcopy(self._past[1])
        self._cache.repeat(rows)
        self._latest = codes[:, -1]

    def _take_in(self, codes: Codes, actions: ActionsBetween) -> ContextCache:
        """Return the memory of a past: codes (b t h w), and the actions between them (b t-1).

        The last frame is only looked at: what follows it is not known.
        """
        cache, belief = self.dynamics.new_cache(), self._frozen.belief
        # Frames beyond the window leave no trace but in the belief.
        last = codes.shape[1] - 1
        first = max(0, last + 1 - self.window * self.dynamics.config.context_layers)
        for i in range(codes.shape[1]):
            cache.belief.closely = i > last - CLOSE_LOOKS
            with autocast(self.dynamics.device, precision=self.precision):
                if first <= i < last:
                    self._frozen.observe(codes[:, i], actions[:, i], cache)
                elif belief is not None:
                    vectors, painting = self._frozen.vectors(codes[:, i]), self._frozen.paint(codes[:, i : i + 1])[:, 0]
                    if i < last:
                        belief.take_in(vectors, painting, actions[:, i], cache.belief, real=True)
                    else:
                        belief.look_at(vectors, painting, cache.belief)
        return cache

    @torch.inference_mode()
    def step(self, actions: Tensor | np.ndarray) -> FrameCodes:
        """Return the codes (b h w) of the frame that follows `actions` (b); -1 leaves the action to the model.

        Raises:
            ValueError: before the first `reset`, or if an action is not one of the model's.
        """
        if self._latest is None:
            raise ValueError("the simulator has no past yet: call reset first")
        chosen = self._check_actions(torch.as_tensor(actions, dtype=torch.int64), (len(self._latest),))
        features = self._observe(self._latest, chosen)
        assert self._cache is not None
        self._cache.imagined = True  # all that comes from here on
        config = self.dynamics.config
        shape = (len(features), config.num_patches, config.codes_per_patch, config.codebook_size)
        noise = gumbel_noise(shape, self.generator)
        self._latest = self.sampler.sample(features, noise, temperature=self.temperature, top_k=self.top_k)
        return self._latest

    def imagine(self, frames: Frames, actions: np.ndarray, future_actions: np.ndarray, *, seed: int = 0) -> Imagined:
        """Return the future of `frames` (b t H W 3), with `actions` (b t-1) between them, under `future_actions` (b n).

        Every code is sampled before any is decoded.
        """
        self.seed(seed)
        self.reset(frames, actions)
        started = time.perf_counter()
        codes = torch.stack([self.step(future_actions[:, i]) for i in range(future_actions.shape[1])], dim=1)
        sampled = time.perf_counter()
        imagined = self.decode(codes)
        return Imagined(
            frames=imagined,
            codes=codes,
            seconds_dynamics=sampled - started,
            seconds_decode=time.perf_counter() - sampled,
        )

    @torch.inference_mode()
    def decode(self, codes: Codes) -> Frames:
        """Return the frames uint8 (b t H W 3) of codes (b t h w)."""
        with autocast(self.tokenizer.device, precision=self.precision):
            return self.tokenizer.decode(codes)

    def _observe(self, codes: FrameCodes, actions: Tensor) -> Tensor:
        assert self._cache is not None
        with autocast(self.dynamics.device, precision=self.precision):
            return self._frozen.observe(codes, actions, self._cache)

    def _check_actions(self, actions: Tensor, shape: tuple[int, ...]) -> Tensor:
        count = len(self.action_names)
        if actions.shape != shape:
            raise ValueError(f"actions must have shape {shape}, got {tuple(actions.shape)}")
        if actions.numel() and not (int(actions.min()) >= NO_ACTION and int(actions.max()) < count):
            raise ValueError(f"actions must be in 0..{count - 1}, or -1 for none; got {actions.unique().tolist()}")
        return actions.to(self.dynamics.device)

    @classmethod
    def from_pretrained(
        cls,
        directory: str | os.PathLike[str] = PRETRAINED,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        precision: str = "auto",
        engine: str = "auto",
    ) -> Simulator:
        """Load a dynamics checkpoint with its tokenizer; by default the one that ships with the package.

        Raises:
            ValueError: if either is missing, damaged, or they do not belong together.
        """
        device = default_device()
        dynamics = Dynamics.from_pretrained(directory).to(device)
        tokenizer = Tokenizer.from_pretrained(Path(directory) / "tokenizer").to(device)
        expected = read_index(directory, kind="dynamics")["config"].get("tokenizer")
        if tokenizer.fingerprint() != expected:
            raise ValueError(f"{directory}: its tokenizer is not the one the dynamics was trained with")
        return cls(tokenizer, dynamics, temperature=temperature, top_k=top_k, precision=precision, engine=engine)
