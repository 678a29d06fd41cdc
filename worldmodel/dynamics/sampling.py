"""From logits to a code: temperature, top-k, and Gumbel noise that decides the draw.

In torch and in NumPy: a new way to choose among the codes has to be in both `sample` and `sample_in_numpy`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float32]


def gumbel_noise(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return independent draws of the standard Gumbel distribution, -log(-log(u)) of uniform u."""
    return torch.rand(*shape, generator=generator).clamp_(min=2.0**-25).log_().neg_().log_().neg_()


def sample(logits: Tensor, noise: Tensor, *, temperature: float = 1.0, top_k: int = 0) -> Tensor:
    """Return codes (...) drawn from softmax(logits / temperature): the largest of logits + temperature * noise.

    With Gumbel noise that is an exact draw (Gumbel 1954). A code depends on its own logits and its own noise only, so
    the same noise gives the same codes in whatever order, batch or arithmetic they are computed, but for ties within
    rounding.

    Args:
        logits: (... k).
        noise: (... k), standard Gumbel.
        temperature: 0 takes the likeliest code.
        top_k: draw among the so many likeliest codes; 0 means all.
    """
    logits = logits.float()
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    return (logits + temperature * noise).argmax(-1)


def sample_in_numpy(logits: Array, noise: Array, *, top_k: int = 0) -> NDArray[np.int64]:
    """Return codes (m) as `sample` does, of logits (m k) and standard Gumbel noise times the temperature (m k)."""
    if 0 < top_k < logits.shape[-1]:
        least = np.partition(logits, -top_k, axis=-1)[:, -top_k, None]
        logits = np.where(logits < least, np.float32(-np.inf), logits)
    codes: NDArray[np.int64] = (logits + noise).argmax(-1)
    return codes


def check_sampling(temperature: float, top_k: int) -> None:
    """Raise ValueError unless temperature is a number from 0 up and top_k a count from 0 up."""
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be 0 or more, got {temperature}")
    if top_k < 0:
        raise ValueError(f"top-k must be 0 (all codes) or more, got {top_k}")
