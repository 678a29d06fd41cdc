"""How likely codes are under the dynamics, in nats a code of each frame, also of the codes that it draws itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...dynamics.features import Features
from ...dynamics.samplers import Sampler
from ...dynamics.sampling import gumbel_noise
from ...runtime import autocast
from ...simulator import Simulator
from ...types import Codes, FrameCodes

FRAMES_AT_ONCE = 16  # whose logits are held at the same time

OnFrame = Callable[[Features, FrameCodes], None]  # receives features (b) and the codes (b h w) drawn from them


@torch.inference_mode()
def past_features(simulator: Simulator, codes: Codes, actions: np.ndarray, *, num_real: int | None = None) -> Features:
    """Return the features (b t) of the frames that follow `codes` (b t h w) under `actions` (b t).

    Args:
        simulator: whose dynamics is asked, with its learned map where it uses one.
        codes: the past.
        actions: after each frame.
        num_real: the first so many frames are a context, and what follows is predicted as it is in imagination,
            whoever made the frames: only so are real codes scored at the precision at which imagined ones are drawn.
            None for all frames to be a real past, as in training.
    """
    given = torch.as_tensor(actions, dtype=torch.int64).to(codes.device)
    return simulator.features(codes, given, num_real=num_real)


@torch.inference_mode()
def frame_nats(simulator: Simulator, features: Features, codes: Codes) -> np.ndarray:
    """Return the mean of -log p(code) over each frame of `codes` (b t h w), given features (b t): float64 (b t).

    p is the model's own distribution, whatever temperature it is drawn with.
    """
    b, t = codes.shape[:2]
    flat, every, parts = features.flatten(), codes.flatten(0, 1), []
    for start in range(0, len(every), FRAMES_AT_ONCE):
        chosen = slice(start, start + FRAMES_AT_ONCE)
        some, frames = flat[chosen], every[chosen]
        with autocast(codes.device, precision=simulator.precision):
            logits = simulator.dynamics.logits(some[None], frames[None])[0]
        nats = F.cross_entropy(logits.float().flatten(0, -2), frames.flatten(), reduction="none")
        parts.append(nats.view(len(frames), -1).double().mean(1))
    return torch.cat(parts).view(b, t).cpu().numpy()


def clip_nats(simulator: Simulator, codes: Codes, actions: np.ndarray, *, context: int) -> np.ndarray:
    """Return nats a code of each frame after the context of a clip of codes (b c+n h w), actions between them: (b n).

    The clip is taken for a recorded one, whoever made its frames: its map, where there is one, looks at each. Only what
    is scored so on both sides can be compared, real frames and own samples.
    """
    features = past_features(simulator, codes[:, :-1], actions)[:, context - 1 :]
    return frame_nats(simulator, features, codes[:, context:])


def draw(simulator: Simulator, features: Features, generator: torch.Generator) -> Codes:
    """Return codes (b t h w) drawn from the model's own distribution, temperature 1, given features (b t)."""
    config = simulator.dynamics.config
    shape = (len(features), config.num_patches, config.codes_per_patch, config.codebook_size)
    drawn = [
        simulator.sampler.sample(features[:, i], gumbel_noise(shape, generator), temperature=1.0, top_k=0)
        for i in range(features.num_frames)
    ]
    return torch.stack(drawn, dim=1)


class RecordingSampler:
    """A sampler that reports each frame it draws, and the features that it was drawn from."""

    def __init__(self, sampler: Sampler, on_frame: OnFrame) -> None:
        self.sampler, self.on_frame = sampler, on_frame

    def sample(self, features: Features, noise: Tensor, *, temperature: float, top_k: int) -> FrameCodes:
        """Return the codes (b h w) that the sampler draws."""
        codes = self.sampler.sample(features, noise, temperature=temperature, top_k=top_k)
        self.on_frame(features, codes)
        return codes

    def sample_scored(
        self, features: Features, noise: Tensor, *, temperature: float, top_k: int
    ) -> tuple[FrameCodes, Tensor]:
        """Return the codes (b h w) that the sampler draws, and their nats (b)."""
        codes, nats = self.sampler.sample_scored(features, noise, temperature=temperature, top_k=top_k)
        self.on_frame(features, codes)
        return codes, nats


def recording(simulator: Simulator, on_frame: OnFrame) -> Simulator:
    """Return a simulator of the same models with a state of its own, whose every draw is passed to `on_frame`."""
    other = simulator.fork()
    other.sampler = RecordingSampler(simulator.sampler, on_frame)
    return other


@dataclass(frozen=True)
class Recorded:
    """Imagined frames, and the features that each was drawn from."""

    features: Features  # (b n)
    codes: Codes  # (b n h w)


def record(simulator: Simulator, codes: Codes, actions: np.ndarray, *, context: int, seed: int) -> Recorded:
    """Imagine what follows a context, codes (b c h w), under `actions` (b c-1+n): the first c-1 are within it."""
    frames: list[tuple[Features, FrameCodes]] = []
    recorder = recording(simulator, lambda features, drawn: frames.append((features, drawn)))
    recorder.seed(seed)
    recorder.reset_codes(codes, torch.as_tensor(actions[:, : context - 1]))
    for step in range(context - 1, actions.shape[1]):
        recorder.step(actions[:, step])
    features, drawn = zip(*frames, strict=True)
    return Recorded(Features.stack(features), torch.stack(drawn, dim=1))
