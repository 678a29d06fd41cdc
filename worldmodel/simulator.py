"""The world model with state: reset it with real frames, then step it with actions. It answers in codes.

Nothing here decodes while imagining: `imagine` samples the last code before the first pixel is made.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .checkpoints import gallery
from .checkpoints.checkpoint import has_part, read_index
from .dynamics.expectation import Expectation, ExpectationModel
from .dynamics.features import Features
from .dynamics.model import Dynamics
from .dynamics.outcome import Outcome, OutcomeHead
from .dynamics.samplers import make_sampler
from .dynamics.sampling import check_sampling, gumbel_noise
from .dynamics.threads import observe
from .imagined import Imagined, ImaginedStep
from .learned_map.map import LearnedMap
from .past import Past
from .rollouts.files import is_printable
from .runtime import autocast, default_device
from .streams import CODES, OUTCOMES, Streams
from .tokenizer.model import Tokenizer
from .types import UNKNOWN_ACTION, Actions, ActionsBetween, Codes, FrameCodes, Frames

PRETRAINED = Path(__file__).parent / "pretrained" / "dynamics"
LEARNED_MAP = "learned_map"  # the folder of a learned map's checkpoint within that of a dynamics


class Simulator:
    """A game that is imagined: `reset` with context, then `step` with actions.

    Args:
        tokenizer: frames <-> codes.
        dynamics: past codes and actions -> next codes, trained on this tokenizer's codes.
        learned_map: says how the next frame is expected to look, for a dynamics that was trained with one; or None.
        use_map: False to imagine without the learned map that there is.
        temperature: of sampling; 0 takes the likeliest code.
        top_k: sample among so many likeliest codes; 0 means all.
        precision: "auto" (bfloat16 where the hardware has it), "float32" or "bfloat16".
        engine: what draws the codes, "numpy", "numpy-bfloat16" (for many games), "torch", or "auto": NumPy on a CPU.
        env: the game that the dynamics was trained on, None where that is not known.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        dynamics: Dynamics,
        learned_map: ExpectationModel[Any] | None = None,
        *,
        use_map: bool = True,
        temperature: float = 1.0,
        top_k: int = 0,
        precision: str = "auto",
        engine: str = "auto",
        env: str | None = None,
    ) -> None:
        check_sampling(temperature, top_k)
        self.tokenizer = tokenizer
        self.dynamics = dynamics
        self.learned_map = learned_map
        self.use_map = use_map and learned_map is not None
        self.temperature, self.top_k, self.precision = temperature, top_k, precision
        self.env = env
        self.sampler = make_sampler(dynamics, engine, precision=precision)
        self._frozen = dynamics.frozen(precision=precision)
        self._expectation_model = learned_map.frozen(precision=precision) if learned_map and self.use_map else None
        self.streams = Streams()
        self._now: Past | None = None
        self._prefilled: tuple[Tensor, Past] | None = None  # the contexts of the last reset, and their state
        self._warm: Past | None = None  # the state of what is done to warm up
        self._latest: Tensor | None = None  # the newest frame's codes, not yet taken in: its action is not known

    @property
    def action_names(self) -> tuple[str, ...]:
        return self.dynamics.config.action_names

    @property
    def has_map(self) -> bool:
        """Whether there is a learned map, used or not."""
        return self.learned_map is not None

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
        self.streams.seed(seed)

    def seed_rows(self, seeds: Mapping[int, int], *, batch: int) -> None:
        """Give each of some rows (number -> seed) random numbers of its own, which do not depend on the batch.

        Codes and outcomes have a stream each: asking for outcomes does not change the codes.
        """
        self.streams.seed_rows(seeds, batch=batch)

    def fork(self) -> Simulator:
        """Return a simulator of the same models that goes on from the same state on its own, unseeded."""
        other = copy.copy(self)
        other.streams = Streams()
        other._now = copy.deepcopy(self._now)
        return other

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Do what a step does on the device, for nothing: to warm up, or to be timed. The state stays as it is."""
        grid = self.dynamics.config.code_grid
        codes = torch.zeros(1, grid, grid, dtype=torch.int64, device=self.dynamics.device)
        if self._warm is None:
            self._warm = self._take_in(codes[:, None], codes[:, 0, :0])
            _, self._warm = self._observe(codes, codes[:, 0, 0], self._warm)
        _, self._warm = self._observe(codes, codes[:, 0, 0], self._warm)
        self.decode(codes[:, None])

    def reset(self, frames: Frames, actions: np.ndarray) -> None:
        """Begin from real frames: uint8 (b t H W 3), and what was done between them: (b t-1), -1 where it is unknown.

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
        if self._prefilled is None or not torch.equal(self._prefilled[0], pasts):
            once, between = pasts.split([whole.shape[1] - (t - 1), t - 1], dim=1)
            self._prefilled = (pasts, self._take_in(once.unflatten(1, codes.shape[1:]), between))
        self._now = self._prefilled[1].repeat(rows)
        self._latest = codes[:, -1]

    @torch.inference_mode()
    def reset_rows(self, rows: Tensor, codes: Codes, actions: Tensor) -> None:
        """Begin some rows (m) of the batch anew from codes (m t h w) and actions (m t-1); the others go on.

        Raises:
            ValueError: before the first `reset`, or as `reset` does.
        """
        if self._latest is None or self._now is None:
            raise ValueError("the simulator has no past yet: call reset first")
        actions = self._check_actions(actions, (len(codes), codes.shape[1] - 1))
        self._now = self._now.put(rows, self._take_in(codes, actions), batch=len(self._latest))
        self._latest = self._latest.clone()
        self._latest[rows] = codes[:, -1]

    def _take_in(self, codes: Codes, actions: ActionsBetween) -> Past:
        """Return what is known at the last frame of a past: codes (b t h w), and the actions between them (b t-1).

        The expectation model sees every frame; in the dynamics, frames beyond its reach leave no trace.
        """
        cache, last = self.dynamics.new_cache(), codes.shape[1] - 1
        first = max(0, last + 1 - self.window * self.dynamics.config.context_layers)
        expectations: Expectation | None = None
        state = None
        with autocast(self.dynamics.device, precision=self.precision):
            if self._expectation_model is not None:
                expectations, state = self._expectation_model.begin(codes, actions, num_expected=last - first)
            for i in range(first, last):
                expectation = None if expectations is None else _frame(expectations, i - first)
                self._frozen.observe(codes[:, i], actions[:, i], cache, expectation)
        return Past(cache, state)

    @torch.inference_mode()
    def step(self, actions: Tensor | np.ndarray) -> FrameCodes:
        """Return the codes (b h w) of the frame that follows `actions` (b); -1 leaves the action to the model.

        Raises:
            ValueError: before the first `reset`, or if an action is not one of the model's.
        """
        features = self._advance(actions)
        noise = self._noise(len(features))
        self._latest = self.sampler.sample(features, noise, temperature=self.temperature, top_k=self.top_k)
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
        noise = self._noise(len(features), rows)
        codes, nats = self.sampler.sample_scored(features, noise, temperature=self.temperature, top_k=self.top_k)
        self._latest = codes
        outcome = self._outcome_of(head, features)
        uniform = self.streams.draw((2,), torch.rand, batch=len(codes), stream=OUTCOMES, rows=rows).to(codes.device)
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
        return self._outcome_of(self._outcome_head(), self.features(codes, actions))

    def _outcome_head(self) -> OutcomeHead:
        if self.dynamics.outcome is None:
            raise ValueError("this checkpoint has no reward and end heads: train the dynamics with this version")
        return self.dynamics.outcome

    def _outcome_of(self, head: OutcomeHead, features: Features) -> Outcome:
        with autocast(self.dynamics.device, precision="float32"):
            outcome: Outcome = head(features.context.float())
        return outcome

    def _advance(self, actions: Tensor | np.ndarray) -> Features:
        """Take in the newest frame and the actions (b) that follow it; return the features (b) of the next frame."""
        if self._latest is None or self._now is None:
            raise ValueError("the simulator has no past yet: call reset first")
        chosen = self._check_actions(torch.as_tensor(actions, dtype=torch.int64), (len(self._latest),))
        features, self._now = self._observe(self._latest, chosen, self._now)
        return features

    def _noise(self, batch: int, rows: np.ndarray | None = None) -> Tensor:
        """Return the noise (b n links k) that decides the codes of the next frame."""
        config = self.dynamics.config
        shape = (config.num_patches, config.codes_per_patch, config.codebook_size)
        return self.streams.draw(shape, gumbel_noise, batch=batch, stream=CODES, rows=rows)

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
    def features(self, codes: Codes, actions: Actions, *, num_real: int | None = None) -> Features:
        """Return what is known of the frame after each of `codes` (b t h w) under `actions` (b t), in one pass.

        For scoring: `dynamics.logits(features, next_codes)` are the logits that `step` samples from.

        Args:
            codes: the frames, real or imagined.
            actions: after each; -1 where it is unknown.
            num_real: the first so many frames are a context, and all that follows is predicted as `step` predicts it
                after a `reset` with them, whoever imagined the frames; None for all frames to be real.
        """
        actions = self._check_actions(actions, tuple(codes.shape[:2]))
        with autocast(self.dynamics.device, precision=self.precision):
            expectation = None
            if self._expectation_model is not None:
                expectation = self._expectation_model.follow(codes, actions, num_real=num_real)
            return self.dynamics.features(codes, actions, expectation=expectation)

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

    def _observe(self, codes: FrameCodes, actions: Tensor, past: Past) -> tuple[Features, Past]:
        """Return the features (b) of the frame that follows codes (b h w) under actions (b), and what is known then.

        The cache within `past` takes the frame in.
        """
        expectation, state = None, None
        with autocast(self.dynamics.device, precision=self.precision):
            if self._expectation_model is not None:
                expectation, state = self._expectation_model.step(past.expectation_state, actions)
        features = observe(self._frozen, codes, actions, past.cache, expectation, precision=self.precision)
        return features, Past(past.cache, state)

    def _check_actions(self, actions: Tensor, shape: tuple[int, ...]) -> Tensor:
        count = len(self.action_names)
        if actions.shape != shape:
            raise ValueError(f"actions must have shape {shape}, got {tuple(actions.shape)}")
        if actions.numel() and not (int(actions.min()) >= UNKNOWN_ACTION and int(actions.max()) < count):
            raise ValueError(f"actions must be in 0..{count - 1}, or -1 for none; got {actions.unique().tolist()}")
        return actions.to(self.dynamics.device)

    @classmethod
    def from_pretrained(
        cls,
        directory: str | os.PathLike[str] = PRETRAINED,
        *,
        use_map: bool = True,
        temperature: float = 1.0,
        top_k: int = 0,
        precision: str = "auto",
        engine: str = "auto",
    ) -> Simulator:
        """Load a dynamics checkpoint with its tokenizer and, where it has one, its learned map.

        Args:
            directory: the checkpoint's, or a name of the gallery (`worldmodel gallery`); by default the maze's.
            use_map: imagine with the learned map, where there is one.
            temperature, top_k: of sampling; 0 takes the likeliest codes, or all of them.

        Raises:
            ValueError: if one of them is missing or damaged, or they do not belong together.
        """
        directory = gallery.resolve(directory)
        device = default_device()
        dynamics = Dynamics.from_pretrained(directory).to(device)
        tokenizer = Tokenizer.from_pretrained(directory / "tokenizer").to(device)
        index = read_index(directory, kind="dynamics")
        if tokenizer.fingerprint() != index["config"].get("tokenizer"):
            raise ValueError(f"{directory}: its tokenizer is not the one the dynamics was trained with; put that back")
        learned_map = None
        if has_part(directory, LEARNED_MAP):
            learned_map = LearnedMap.from_pretrained(directory / LEARNED_MAP).to(device)
            known = read_index(directory / LEARNED_MAP, kind=LEARNED_MAP)["config"]
            if known.get("tokenizer") != tokenizer.fingerprint():
                raise ValueError(f"{directory}: its learned map was trained with another tokenizer; put its own back")
        return cls(
            tokenizer,
            dynamics,
            learned_map,
            use_map=use_map,
            temperature=temperature,
            top_k=top_k,
            precision=precision,
            engine=engine,
            env=_text(index["metrics"].get("env")),
        )


def _text(value: object) -> str | None:
    return str(value) if is_printable(value) else None


def _frame(expectations: Expectation, index: int) -> Expectation:
    """Return the expectation (b) of one frame of (b t)."""
    return expectations.map(lambda part: part[:, index])
