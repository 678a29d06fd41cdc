"""The engines that draw a frame's codes: torch on any device, NumPy on a CPU. The same noise gives the same codes."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..runtime import autocast
from ..types import FrameCodes
from .features import Features
from .model import Dynamics
from .numpy_decoder import NumpyDecoder
from .threads import in_threads

ENGINES = ("auto", "torch", "numpy", "numpy-bfloat16")


@runtime_checkable
class Sampler(Protocol):
    """Draws the next frame's codes."""

    def sample(self, features: Features, noise: Tensor, *, temperature: float, top_k: int) -> FrameCodes:
        """Return codes (b h w) from features (b) and standard Gumbel noise (b n links k) in main memory."""

    def sample_scored(
        self, features: Features, noise: Tensor, *, temperature: float, top_k: int
    ) -> tuple[FrameCodes, Tensor]:
        """Return the same codes, and -log p of each frame (b) at temperature 1 among all codes."""


class TorchSampler:
    """Draws on the dynamics' own device, in `precision`."""

    def __init__(self, dynamics: Dynamics, *, precision: str = "auto") -> None:
        self.dynamics, self.precision = dynamics.frozen(precision=precision), precision

    def sample(self, features: Features, noise: Tensor, *, temperature: float, top_k: int) -> FrameCodes:
        """Return codes (b h w)."""
        device = self.dynamics.device
        with autocast(device, precision=self.precision):
            return self.dynamics.sample_frame(features, noise=noise.to(device), temperature=temperature, top_k=top_k)

    def sample_scored(
        self, features: Features, noise: Tensor, *, temperature: float, top_k: int
    ) -> tuple[FrameCodes, Tensor]:
        """Return codes (b h w) and their nats (b), by a second pass over all codes at once."""
        codes = self.sample(features, noise, temperature=temperature, top_k=top_k)
        with autocast(self.dynamics.device, precision=self.precision):
            logits = self.dynamics.logits(features[:, None], codes.unsqueeze(1))
        chosen = logits.float().log_softmax(-1).gather(-1, codes[:, None, :, :, None])
        return codes, -chosen.flatten(1).sum(-1)


class NumpySampler:
    """Draws in NumPy and single precision, with the weights that the dynamics has now.

    With `bfloat16` the large products are in that. Several games are shared among torch's threads; the codes of a game
    do not depend on the games beside it.
    """

    def __init__(self, dynamics: Dynamics, *, bfloat16: bool = False) -> None:
        if dynamics.device.type != "cpu":
            raise ValueError(f"engine numpy computes on a CPU, the model is on {dynamics.device}; use torch or auto")
        self.dynamics = dynamics
        self.decoder = NumpyDecoder(dynamics.decoder, dynamics.code_vectors, bfloat16=bfloat16)

    def sample(self, features: Features, noise: Tensor, *, temperature: float, top_k: int) -> FrameCodes:
        """Return codes (b h w)."""
        return self._sample(features, noise, None, temperature=temperature, top_k=top_k)

    def sample_scored(
        self, features: Features, noise: Tensor, *, temperature: float, top_k: int
    ) -> tuple[FrameCodes, Tensor]:
        """Return codes (b h w) and their nats (b)."""
        nats = torch.zeros(len(noise))
        return self._sample(features, noise, nats, temperature=temperature, top_k=top_k), nats

    @torch.no_grad()
    def _sample(self, features: Features, noise: Tensor, nats: Tensor | None, **settings: Any) -> FrameCodes:
        bias = self.dynamics.logit_bias(features.expectation)

        def draw(rows: slice) -> Tensor:
            some, score = (None if part is None else part[rows] for part in (bias, nats))
            return self.decoder.sample(features[rows], noise[rows], some, nats=score, **settings)

        return self.dynamics.from_patches(torch.cat(in_threads(draw, len(noise))))


def make_sampler(dynamics: Dynamics, engine: str = "auto", *, precision: str = "auto") -> Sampler:
    """Return the sampler `engine`; "auto" is NumPy for a model on a CPU and torch for any other.

    Raises:
        ValueError: if there is no such engine, or it cannot run where the model is.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    if engine == "numpy-bfloat16":
        return NumpySampler(dynamics, bfloat16=True)
    if engine == "numpy" or (engine == "auto" and dynamics.device.type == "cpu"):
        return NumpySampler(dynamics)
    return TorchSampler(dynamics, precision=precision)
