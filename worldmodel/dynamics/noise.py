"""What training hides from the dynamics: random codes in the context, and the actions of some clips."""

from __future__ import annotations

import torch
from torch import Tensor

from ..types import UNKNOWN_ACTION, Actions, Codes


def add_context_noise(
    codes: Codes, *, codebook_size: int, max_rate: float, generator: torch.Generator
) -> tuple[Codes, Tensor]:
    """Return codes with random ones among them, at a rate drawn for each clip from 0 to `max_rate`, and the rates (b).

    A model that has seen noisy pasts goes on from its own imperfect frames: a remedy for exposure bias.
    """
    rate = torch.rand(len(codes), generator=generator) * max_rate
    hit = torch.rand(codes.shape, generator=generator) < rate[:, None, None, None]
    random = torch.randint(codebook_size, codes.shape, generator=generator)
    return torch.where(hit.to(codes.device), random.to(codes.device), codes), rate.to(codes.device)


def drop_actions(actions: Actions, *, rate: float, generator: torch.Generator) -> Actions:
    """Return actions (b t), those of some clips replaced by "unknown" (as for classifier-free guidance)."""
    dropped = torch.rand(len(actions), generator=generator) < rate
    return actions.masked_fill(dropped.to(actions.device).unsqueeze(1), UNKNOWN_ACTION)
