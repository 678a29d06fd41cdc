"""View bob: the eye of a walking player goes up and down with the engine's clock.

How far it goes (amplitude) follows from the step before; where in its period it is (phase) is estimated from views.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..runtime import single_precision

HIDDEN_DIM, STEP_SCALE = 24, 0.07
OFFSET_STD = 0.015  # of an offset that is found from a view, in heights of the eye


class ViewBob(nn.Module):
    """The last step -> the amplitude of the eye's height, times the sine and the cosine of the phase."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(2, HIDDEN_DIM), nn.Tanh(), nn.Linear(HIDDEN_DIM, 2, bias=False))
        nn.init.zeros_(self.network[-1].weight)  # type: ignore[arg-type]

    def forward(self, steps: Tensor) -> Tensor:
        """Return the amplitudes (m 2) after steps (m 2), ahead and to the left; at rest there is none."""
        with single_precision(steps.device):
            first, bend, last = self.network
            amplitudes: Tensor = last(bend(first(steps.float() / STEP_SCALE)) - bend(first.bias))
        return amplitudes


class BobPhase(NamedTuple):
    """A Kalman filter of the phase's sine and cosine, observed through their product with the amplitudes.

    The phase goes on while the player stands still, with nothing to observe.
    """

    mean: Tensor  # (b 2)
    covariance: Tensor  # (b 2 2)

    @classmethod
    def unknown(cls, like: Tensor) -> BobPhase:
        """Return the filter at which every phase is as likely, for as many rows as `like` (b ...) has."""
        return cls(like.new_zeros(len(like), 2), (0.5 * torch.eye(2).to(like)).expand(len(like), 2, 2))

    def offset(self, amplitudes: Tensor) -> Tensor:
        """Return how far the eye is above its rest (b ...), at amplitudes (b ... 2)."""
        return (self.mean.reshape(len(self.mean), *[1] * (amplitudes.ndim - 2), 2) * amplitudes).sum(-1)

    def update(self, amplitudes: Tensor, offset: Tensor) -> BobPhase:
        """Return the filter after the eye was found at `offset` (b), at amplitudes (b 2)."""
        across = (self.covariance * amplitudes.unsqueeze(1)).sum(-1)
        gain = across / ((across * amplitudes).sum(-1) + OFFSET_STD**2).unsqueeze(-1)
        mean = self.mean + gain * (offset - self.offset(amplitudes)).unsqueeze(-1)
        return BobPhase(mean, self.covariance - gain.unsqueeze(2) * across.unsqueeze(1))

    def predict(self, angle: float) -> BobPhase:
        """Return the filter when the phase has gone on by an angle."""
        cos, sin = math.cos(angle), math.sin(angle)
        rotation = self.mean.new_tensor([[cos, sin], [-sin, cos]])  # of (sine, cosine)
        with single_precision(rotation.device):
            return BobPhase(self.mean @ rotation.T, rotation @ self.covariance @ rotation.T)
