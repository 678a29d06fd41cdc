"""The codebook: which code a latent becomes, and how codes learn (van den Oord et al. 2017, sec. 3, appendix A.1).

Two codebooks with one interface. `GradientCodebook` follows the gradient of eq. 3's second term; `EMACodebook` keeps
each code at a running mean of the latents assigned to it, and restarts the codes that nothing is assigned to.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import TokenizerConfig

ROWS_AT_ONCE = 2048


def nearest_code(latents: Tensor, codebook: Tensor) -> Tensor:
    """Return the index of the code nearest to each latent (eq. 2): (n d), (k d) -> int64 (n).

    Raises:
        ValueError: if a latent is not finite, because the nearest code of NaN would silently be code 0.
    """
    if not torch.isfinite(latents).all():
        raise ValueError("latents are not finite: the encoder has diverged or its weights are damaged")
    squares = codebook.square().sum(1)
    # |latent|^2 is the same for every code. Few rows at once, so that their distances stay in the processor's cache.
    parts = [torch.addmm(squares, part, codebook.T, alpha=-2).argmin(1) for part in latents.split(ROWS_AT_ONCE)]
    return torch.cat(parts)


class Codebook(nn.Module):
    """K codes of d numbers. The subclasses differ in how the codes learn."""

    vectors: Tensor

    def codes(self, latents: Tensor) -> Tensor:
        """Return the nearest code of each latent: (n d) -> int64 (n).

        Raises:
            ValueError: if a latent is not finite.
        """
        # Half precision would confuse codes that lie close together.
        with torch.autocast(latents.device.type, enabled=False):
            return nearest_code(latents.float(), self.vectors)

    def lookup(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes: int64 (...) -> (... d)."""
        return F.embedding(codes, self.vectors)

    def loss(self, latents: Tensor, quantized: Tensor) -> Tensor:
        """Return ||sg[latents] - quantized||^2 for each latent: (n d), (n d) -> (n)."""
        return (latents.detach() - quantized).square().sum(-1)

    def start(self, latents: Tensor, *, generator: torch.Generator) -> None:
        """Prepare for the first latents (n d) ever seen; later calls do nothing."""

    def update(self, latents: Tensor, codes: Tensor, *, restart: bool, generator: torch.Generator) -> None:
        """Learn from the latents (n d) assigned to codes (n)."""


class GradientCodebook(Codebook):
    """Codes that learn by gradient, as in the paper's experiments (eq. 3)."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        bound = 1 / config.codebook_size
        self.vectors = nn.Parameter(torch.empty(config.codebook_size, config.code_dim).uniform_(-bound, bound))


class EMACodebook(Codebook):
    """Codes that are running means of their latents (appendix A.1), started from data, with dead codes restarted."""

    counts: Tensor
    sums: Tensor
    updates: Tensor
    started: Tensor

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.decay = config.ema_decay
        self.restart_below = config.restart_below
        # Buffers, so that a resumed run continues with exactly these statistics.
        self.register_buffer("vectors", torch.randn(config.codebook_size, config.code_dim))
        self.register_buffer("counts", torch.ones(config.codebook_size))
        self.register_buffer("sums", torch.randn(config.codebook_size, config.code_dim))
        self.register_buffer("updates", torch.tensor(0))
        self.register_buffer("started", torch.tensor(False))

    def loss(self, latents: Tensor, quantized: Tensor) -> Tensor:
        """Return zeros (n): the codes learn by `update`, not by gradient."""
        return torch.zeros(len(latents), device=latents.device)

    @torch.no_grad()
    def start(self, latents: Tensor, *, generator: torch.Generator) -> None:
        """Put the codes onto random latents (n d): a uniform start leaves most codes dead."""
        if not self.started:
            everyone = torch.arange(len(self.vectors), device=latents.device)
            self._place(everyone, latents.float(), count=len(latents) / len(everyone), generator=generator)
            self.started.fill_(True)

    @torch.no_grad()
    def update(self, latents: Tensor, codes: Tensor, *, restart: bool, generator: torch.Generator) -> None:
        """Move each code towards the mean of its latents (eq. 6-8) and, if `restart`, dead codes onto random latents.

        With several processes all of them apply the sum of everybody's statistics, so that their codebooks stay equal.
        """
        latents = latents.float()
        size = len(self.vectors)
        counts = torch.bincount(codes, minlength=size).float()
        sums = torch.zeros_like(self.vectors).index_add_(0, codes, latents)
        if dist.is_initialized():
            dist.all_reduce(counts)
            dist.all_reduce(sums)
        self.updates += 1
        # Early latents move fast, and codes that lag behind them die: forget sooner at first.
        rate = max(1 - self.decay, 9 / (9 + float(self.updates)))
        self.counts.lerp_(counts, rate)
        self.sums.lerp_(sums, rate)
        total = self.counts.sum()
        # Laplace smoothing keeps an unused code finite.
        smooth = (self.counts + 1e-5) / (total + size * 1e-5) * total
        self.vectors.copy_(self.sums / smooth.unsqueeze(1))
        if restart:
            dead = (self.counts < self.restart_below * total / size).nonzero().squeeze(1)
            if len(dead):
                # A small count: the code soon becomes the mean of what it attracts, or dies again.
                self._place(dead, latents, count=0.1 * float(total / size), generator=generator)

    def _place(self, codes: Tensor, latents: Tensor, *, count: float, generator: torch.Generator) -> None:
        """Put `codes` onto random latents, together with their statistics."""
        chosen = torch.randint(len(latents), (len(codes),), generator=generator)
        vectors = latents[chosen.to(latents.device)]
        if dist.is_initialized():
            dist.broadcast(vectors, src=0)
        self.vectors[codes] = vectors
        self.counts[codes] = count
        self.sums[codes] = vectors * count


def make_codebook(config: TokenizerConfig) -> Codebook:
    """Return the codebook that the config names."""
    return EMACodebook(config) if config.codebook == "ema" else GradientCodebook(config)
