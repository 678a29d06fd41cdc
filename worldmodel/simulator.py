"""The world model with state: reset it with real frames, then step it with actions. It answers in codes.

Nothing here decodes while imagining: `imagine` samples the last code before the first pixel is made.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .checkpoint import read_index
from .dynamics.cache import ContextCache
from .dynamics.model import Dynamics
from .dynamics.outcome import Outcome, OutcomeHead
from .dynamics.samplers import in_threads, make_sampler
from .dynamics.sampling import check_sampling, gumbel_noise
from .runtime import autocast, default_device
from .tokenizer.model import Tokenizer
from .types import NO_ACTION, Actions, ActionsBetween, Codes, FrameCodes, Frames

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


@dataclass(frozen=True, kw_only=True)
class ImaginedStep:
    """What a step of b imagined games brings."""

    codes: FrameCodes  # (b h w), of the next frame
    reward: Tensor  # float32 (b), drawn from the reward head
    terminated: Tensor  # bool (b), whether the episode ends with this step
    expected_reward: Tensor  # float32 (b)
    end_probability: Tensor  # float32 (b), whatever the reward
    nats: Tensor  # float32 (b), -log p of the codes at temperature 1


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
        self.generator, self.outcome_generator = torch.Generator(), torch.Generator()
        self._row_generators: list[tuple[torch.Generator, torch.Generator]] | None = None
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

    @property
    def has_outcome(self) -> bool:
        """Whether the model knows rewards and ends."""
        return self.dynamics.outcome is not None

    def seed(self, seed: int) -> None:
        """Make what follows repeatable."""
        self.generator.manual_seed(seed)
        self.outcome_generator.manual_seed(seed)
        self._row_generators = None

    def seed_rows(self, seeds: Mapping[int, int], *, batch: int) -> None:
        """Give each of some rows (number -> seed) random numbers of its own, which do not depend on the batch.

        Codes and outcomes have a stream each: who asks for outcomes sees the same frames as who does not.
        """
        if self._row_generators is None or len(self._row_generators) != batch:
            self._row_generators = [(torch.Generator(), torch.Generator()) for _ in range(batch)]
        for row, seed in seeds.items():
            codes, outcomes = np.random.SeedSequence(seed).generate_state(2, np.uint64)
            self._row_generators[row][0].manual_seed(int(codes))
            self._row_generators[row][1].manual_seed(int(outcomes))

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
        self.reset_codes(self.encode(frames), torch.as_tensor(actions, dtype=torch.int64))

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

    @torch.inference_mode()
    def reset_rows(self, rows: Tensor, codes: Codes, actions: Tensor) -> None:
        """Begin some rows (m) of the batch anew from codes (m t h w) and actions (m t-1); the others go on.

        Raises:
            ValueError: before the first `reset`, or as `reset` does.
        """
        if self._latest is None or self._cache is None:
            raise ValueError("the simulator has no past yet: call reset first")
        actions = self._check_actions(actions, (len(codes), codes.shape[1] - 1))
        self._cache.put(rows, self._take_in(codes, actions), batch=len(self._latest))
        self._latest = self._latest.clone()
        self._latest[rows] = codes[:, -1]

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
        features = self._advance(actions)
        settings = {"temperature": self.temperature, "top_k": self.top_k}
        self._latest = self.sampler.sample(features, self._noise(), **settings)
        return self._latest

    @torch.inference_mode()
    def step_outcome(
        self, actions: Tensor | np.ndarray, *, rows: np.ndarray | None = None, threshold: float | None = None
    ) -> ImaginedStep:
        """Do what `step` does, and draw the reward of the step and whether it ends the episode.

        Args:
            actions: (b), as for `step`.
            rows: bool (b); only these draw random numbers, and what the others show means nothing.
            threshold: the episode ends if the probability of the end, given the reward, is above it; None draws the
                end with that probability.

        Raises:
            ValueError: as `step` does, or if the checkpoint knows no rewards.
        """
        head = self._outcome_head()
        features = self._advance(actions)
        settings = {"temperature": self.temperature, "top_k": self.top_k}
        codes, nats = self.sampler.sample_scored(features, self._noise(rows), **settings)
        self._latest = codes
        outcome = self._outcome_of(head, features)
        uniform = self._random((2,), torch.rand, rows, stream=1).to(features.device)
        reward, terminated = outcome.draw(uniform, threshold=threshold)
        return ImaginedStep(
            codes=codes,
            reward=reward,
            terminated=terminated,
            expected_reward=outcome.reward,
            end_probability=outcome.end_probability,
            nats=nats,
        )

    @torch.inference_mode()
    def outcomes(self, codes: Codes, actions: Actions) -> Outcome:
        """Return what the heads say of real steps: codes (b t h w), actions (b t) taken after seeing each; (b t).

        Raises:
            ValueError: if the checkpoint knows no rewards.
        """
        head = self._outcome_head()
        with autocast(self.dynamics.device, precision=self.precision):
            features = self._frozen.features(codes, actions)
        return self._outcome_of(head, features)

    def _outcome_head(self) -> OutcomeHead:
        if self.dynamics.outcome is None:
            raise ValueError("this checkpoint has no reward and end heads: train the dynamics with this version")
        return self.dynamics.outcome

    def _outcome_of(self, head: OutcomeHead, features: Tensor) -> Outcome:
        with autocast(self.dynamics.device, precision="float32"):
            outcome: Outcome = head(features[..., : self.dynamics.config.context_dim].float())
        return outcome

    def _advance(self, actions: Tensor | np.ndarray) -> Tensor:
        """Take in the newest frame and the actions (b) that follow it; return features (b n d) of the next frame."""
        if self._latest is None:
            raise ValueError("the simulator has no past yet: call reset first")
        chosen = self._check_actions(torch.as_tensor(actions, dtype=torch.int64), (len(self._latest),))
        features = self._observe(self._latest, chosen)
        assert self._cache is not None
        self._cache.imagined = True  # all that comes from here on
        return features

    def _noise(self, rows: np.ndarray | None = None) -> Tensor:
        """Return the noise (b n links k) that decides the codes of the next frame."""
        config = self.dynamics.config
        shape = (config.num_patches, config.codes_per_patch, config.codebook_size)
        return self._random(shape, gumbel_noise, rows, stream=0)

    def _random(
        self, shape: tuple[int, ...], draw: Callable[..., Tensor], rows: np.ndarray | None, *, stream: int
    ) -> Tensor:
        """Return random numbers (b ...) of each row's own stream, or of the batch's; zeros for rows that draw none."""
        assert self._latest is not None
        batch = len(self._latest)
        if self._row_generators is None:
            return draw((batch, *shape), generator=self.outcome_generator if stream else self.generator)
        if len(self._row_generators) != batch:
            raise ValueError(f"{len(self._row_generators)} rows have seeds, the batch has {batch}")
        numbers = torch.zeros(batch, *shape)
        generators = self._row_generators

        def fill(some: slice) -> None:
            for row in range(some.start, some.stop):
                if rows is None or rows[row]:
                    numbers[row] = draw(shape, generator=generators[row][stream])

        in_threads(fill, batch)
        return numbers

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

    @torch.inference_mode()
    def encode(self, frames: Frames) -> Codes:
        """Return the codes (b t h w) of frames uint8 (b t H W 3)."""
        with autocast(self.tokenizer.device, precision=self.precision):
            return self.tokenizer.encode(frames)

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
