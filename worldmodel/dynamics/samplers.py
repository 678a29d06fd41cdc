"""The engines that draw a frame's codes: torch on any device, NumPy on a CPU. The same noise gives the same codes."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..runtime import autocast
from ..types import FrameCodes
from .features import Features
from .model import Dynamics
from .numpy_decoder import NumpyDecoder

ENGINES = ("auto", "torch", "numpy")


@runtime_checkable
class Sampler(Protocol):
    """Draws the next frame's codes."""

    def sample(self, features: Features, noise: Tensor, *, temperature: float, top_k: int) -> FrameCodes:
        """Return codes (b h w) from features (b) and standard Gumbel noise (b n links k) in main memory."""


class TorchSampler:
    """Draws on the dynamics' own device, in `precision`."""

    def __init__(self, dynamics: Dynamics, *, precision: str = "auto") -> None:
        self.dynamics, self.precision = dynamics.frozen(precision=precision), precision

    def sample(self, features: Features, noise: Tensor, *, temperature: float, top_k: int) -> FrameCodes:
        """Return codes (b h w)."""
        device = self.dynamics.device
        with autocast(device, precision=self.precision):
            return self.dynamics.sample_frame(features, noise=noise.to(device), temperature=temperature, top_k=top_k)


class NumpySampler:
    """Draws in NumPy and single precision, with the weights that the dynamics has now."""

    def __init__(self, dynamics: Dynamics) -> None:
        if dynamics.device.type != "cpu":
            raise ValueError(f"engine numpy computes on a CPU, the model is on {dynamics.device}; use torch or auto")
        self.dynamics = dynamics
        self.decoder = NumpyDecoder(dynamics.decoder, dynamics.code_vectors)

    @torch.no_grad()
    def sample(self, features: Features, noise: Tensor, *, temperature: float, top_k: int) -> FrameCodes:
        """Return codes (b h w)."""
        logit_bias = self.dynamics.logit_bias(features.expectation)
        codes = self.decoder.sample(features, noise, logit_bias, temperature=temperature, top_k=top_k)
        return self.dynamics.from_patches(codes)


def make_sampler(dynamics: Dynamics, engine: str = "auto", *, precision: str = "auto") -> Sampler:
    """Return the sampler `engine`; "auto" is NumPy for a model on a CPU and torch for any other.

    Raises:
        ValueError: if there is no such engine, or it cannot run where the model is.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    if engine == "numpy" or (engine == "auto" and dynamics.device.type == "cpu"):
        return NumpySampler(dynamics)
    return TorchSampler(dynamics, precision=precision)
