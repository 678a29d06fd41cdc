"""From logits to a code: temperature, top-k, and one uniform number for each code of a frame."""

from __future__ import annotations

import torch
from torch import Tensor

GREEDY_BELOW = 1e-6  # a temperature that single precision can no longer divide by


def sample(logits: Tensor, noise: Tensor, *, temperature: float = 1.0, top_k: int = 0) -> Tensor:
    """Return codes (...) drawn from softmax(logits / temperature) by inverting its distribution function at `noise`.

    The code depends on its own logits and its own number only, so the same noise gives the same codes in whatever order
    or batch they are computed.

    Args:
        logits: (... k).
        noise: (...), uniform in 0..1.
        temperature: 0 (or below 1e-6) takes the likeliest code and ignores the noise.
        top_k: draw among the so many likeliest codes; 0 means all.
    """
    if temperature < GREEDY_BELOW:
        return logits.argmax(-1)
    logits = logits.float()
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    cumulative = torch.softmax(logits / temperature, dim=-1).cumsum(-1)
    total = cumulative[..., -1:]
    drawn = (cumulative <= noise.unsqueeze(-1) * total).sum(-1)
    # Rounding must not carry the draw past the last code that has any probability.
    return torch.minimum(drawn, (cumulative < total).sum(-1))


def check_sampling(temperature: float, top_k: int) -> None:
    """Raise ValueError unless temperature is a number from 0 up and top_k a count from 0 up."""
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be 0 or more, got {temperature}")
    if top_k < 0:
        raise ValueError(f"top-k must be 0 (all codes) or more, got {top_k}")
