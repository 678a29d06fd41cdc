"""The VAE: the tokenizer's networks around Gaussian latents (Kingma and Welling 2014, arXiv 1312.6114).

It is what van den Oord et al. 2017 compare the VQ-VAE with, a baseline: it has no codes, so no dynamics can learn it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from ..config import VAEConfig
from ..types import Frames, FrameTensor, Latents
from .autoencoder import FRAMES_AT_ONCE, Autoencoder

ACTIVE_VARIANCE = 0.01  # a latent whose mean varies less over the data is inactive (Burda et al. 2016, sec. 5.2)


@dataclass(frozen=True)
class Posterior:
    """q(z | x): an independent Gaussian for each latent, mean and log-variance (n d h w)."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, *, generator: torch.Generator) -> Latents:
        """Return mean + deviation * noise, which passes gradients to both; `generator` is on the CPU."""
        noise = torch.randn(self.mean.shape, generator=generator).to(self.mean.device)
        return self.mean + torch.exp(0.5 * self.log_variance) * noise

    def kl(self) -> Latents:
        """Return KL(q || N(0, 1)) of each latent in nats (Kingma and Welling 2014, appendix B)."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance)


@dataclass(frozen=True)
class VAELosses:
    """What a training step of the VAE reports; `total` is -ELBO in nats per pixel value, and what is minimised."""

    total: Tensor
    nll: Tensor  # nats per pixel value, of p(x | latents)
    kl: Tensor  # nats per pixel value
    mse: Tensor  # in grey levels squared
    means: Tensor  # (n d h w) of the posterior


class VAE(Autoencoder[VAEConfig]):
    """VAE: uint8 frames (b t H W 3) <-> latents (b t d h w), standard normal under the prior."""

    kind = "vae"
    config_type = VAEConfig

    def __init__(self, config: VAEConfig) -> None:
        super().__init__(config, encoded_dim=2 * config.latent_dim, decoded_dim=config.latent_dim)

    def posterior(self, frames: Tensor) -> Posterior:
        """Return q(z | x) of frames uint8 (n H W 3).

        Raises:
            ValueError: if a latent is not finite: the encoder has diverged or its weights are damaged.
        """
        mean, log_variance = self.latents(frames).float().chunk(2, dim=1)
        if not torch.isfinite(mean).all() or not torch.isfinite(log_variance).all():
            raise ValueError("latents are not finite: the encoder has diverged or its weights are damaged")
        return Posterior(mean, log_variance)

    @torch.no_grad()
    def posteriors(self, frames: Frames) -> Posterior:
        """Return q(z | x) of frames uint8 (b t H W 3), all clips' frames one after the other.

        Raises:
            ValueError: if the frames' size is not the one the VAE was made for.
        """
        parts = [self.posterior(part) for part in self._few_at_once(frames)]
        return Posterior(torch.cat([q.mean for q in parts]), torch.cat([q.log_variance for q in parts]))

    def encode(self, frames: Frames) -> Float[Tensor, "b t d h w"]:
        """Return the posterior's mean: uint8 (b t H W 3) -> (b t d h w).

        Raises:
            ValueError: if the frames' size is not the one the VAE was made for.
        """
        return rearrange(self.posteriors(frames).mean, "(b t) d h w -> b t d h w", b=len(frames))

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "b t d h w"]) -> Frames:
        """Return the frames of latents: (b t d h w) -> uint8 (b t H W 3)."""
        frames = [self._draw(part) for part in latents.flatten(0, 1).split(FRAMES_AT_ONCE)]
        return rearrange(torch.cat(frames), "(b t) c h w -> b t h w c", b=len(latents)).cpu().numpy()

    def loss(self, frames: FrameTensor, *, generator: torch.Generator) -> VAELosses:
        """Return -ELBO of frames uint8 (b t H W 3) per pixel value, from one draw of the latents.

        -E_q[log p(x | z)] + KL(q(z | x) || p(z)): an upper bound of -log p(x), so bits/dim of a code that exists.
        """
        pixels = frames.flatten(0, 1)
        posterior = self.posterior(pixels)
        mse = self.squared_errors(pixels, self.decoder(posterior.sample(generator=generator))).mean()
        nll, kl = self.nll(mse), posterior.kl().sum() / pixels.numel()
        return VAELosses(nll + kl, nll.detach(), kl.detach(), mse.detach(), posterior.mean.detach())

    def forward(self, frames: FrameTensor, *, generator: torch.Generator) -> VAELosses:
        """The same as `loss`: the name by which torch's wrappers for several processes call it."""
        return self.loss(frames, generator=generator)


def active(means: Latents) -> Tensor:
    """Return which latents say something about their frame: (n d h w) -> bool (d h w).

    Those whose posterior mean varies over the frames by more than ACTIVE_VARIANCE (Burda et al. 2016, sec. 5.2).
    """
    return means.var(0, correction=0) > ACTIVE_VARIANCE
