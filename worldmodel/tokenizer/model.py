"""The tokenizer: frames to codes, codes to frames, and the loss that trains both (van den Oord et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from ..config import TokenizerConfig
from ..types import Codes, Frames, FrameTensor
from .autoencoder import FRAMES_AT_ONCE, Autoencoder
from .quantizer import make_codebook

CHANGED = 8  # grey levels: more than compression noise, less than any object


@dataclass(frozen=True)
class TokenizerLosses:
    """What a training step of the tokenizer reports; `total` is what is minimised."""

    total: Tensor
    nll: Tensor  # nats per pixel value, of p(x | codes)
    commitment: Tensor  # ||z_e - sg[e]||^2, per pixel value of the frame
    codebook: Tensor  # ||sg[z_e] - e||^2, the same
    mse: Tensor  # in grey levels squared
    codes: Tensor  # (n h w)


class Tokenizer(Autoencoder[TokenizerConfig]):
    """VQ-VAE: uint8 frames (b t H W 3) <-> codes (b t h w) of a codebook of K."""

    kind = "tokenizer"
    config_type = TokenizerConfig

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__(config, encoded_dim=config.code_dim, decoded_dim=config.code_dim)
        self.codebook = make_codebook(config)

    @torch.no_grad()
    def encode(self, frames: Frames) -> Codes:
        """Return the codes of frames: uint8 (b t H W 3) -> int64 (b t h w).

        Raises:
            ValueError: if the frames' size is not the one the tokenizer was made for.
        """
        b, t = frames.shape[:2]
        grids = []
        for part in self._few_at_once(frames):
            latents = self.latents(part)
            n, _, h, w = latents.shape
            codes = self.codebook.codes(rearrange(latents, "n d h w -> (n h w) d"))
            grids.append(rearrange(codes, "(n h w) -> n h w", n=n, h=h, w=w))
        return rearrange(torch.cat(grids), "(b t) h w -> b t h w", b=b, t=t)

    @torch.no_grad()
    def decode(self, codes: Codes) -> Frames:
        """Return the frames of codes: int64 (b t h w) -> uint8 (b t H W 3)."""
        b, t = codes.shape[:2]
        frames = [
            self._draw(rearrange(self.codebook.lookup(part), "n h w d -> n d h w"))
            for part in codes.flatten(0, 1).split(FRAMES_AT_ONCE)
        ]
        return rearrange(torch.cat(frames), "(b t) c h w -> b t h w c", b=b, t=t).cpu().numpy()

    def loss(
        self,
        frames: FrameTensor,
        weights: Tensor | None = None,
        *,
        restart: bool = True,
        generator: torch.Generator,
    ) -> TokenizerLosses:
        """Return the three-term loss (eq. 3) of frames uint8 (b t H W 3), and let the codebook learn.

        -log p(x | z_q) + ||sg[z_e] - e||^2 + beta ||z_e - sg[e]||^2, all per pixel value of the frame. `restart` lets
        the codebook revive dead codes; `generator` (on the CPU) chooses where. Where the encoder is not trained, codes
        keep their meaning: the codebook does not learn either. `weights` (b t H W), of mean 1, say how much the squared
        error of each pixel counts in the networks' gradient; the reported figures and the learned deviation stay those
        of the unweighted likelihood.
        """
        pixels = frames.flatten(0, 1)
        latents = self.latents(pixels)
        n, _, h, w = latents.shape
        flat = rearrange(latents.float(), "n d h w -> (n h w) d")
        learns = self.training and any(weight.requires_grad for weight in self.encoder.parameters())
        if learns:
            self.codebook.start(flat.detach(), generator=generator)
        codes = self.codebook.codes(flat.detach())
        quantized = self.codebook.lookup(codes)
        if learns:
            self.codebook.update(flat.detach(), codes, restart=restart, generator=generator)
        straight = flat + (quantized - flat).detach()  # the decoder's gradient passes to the encoder unchanged
        errors = self.squared_errors(pixels, self.decoder(rearrange(straight, "(n h w) d -> n d h w", n=n, h=h, w=w)))
        mse = errors.mean()
        nll = self.nll(mse)
        reconstruction = nll if weights is None else nll + self._reweighted(errors, weights.flatten(0, 1))
        per_value = len(flat) / pixels.numel()  # turns a mean over latents into a sum per pixel value
        commitment = (flat - quantized.detach()).square().sum(-1).mean() * per_value
        codebook = self.codebook.loss(flat, quantized).mean() * per_value
        total = reconstruction + codebook + self.config.commitment_weight * commitment
        grid = rearrange(codes, "(n h w) -> n h w", n=n, h=h, w=w)
        return TokenizerLosses(total, nll.detach(), commitment.detach(), codebook.detach(), mse.detach(), grid)

    def forward(
        self, frames: FrameTensor, weights: Tensor | None = None, *, restart: bool, generator: torch.Generator
    ) -> TokenizerLosses:
        """The same as `loss`: the name by which torch's wrappers for several processes call it."""
        return self.loss(frames, weights, restart=restart, generator=generator)

    def _reweighted(self, errors: Tensor, weights: Tensor) -> Tensor:
        """Return what `weights` (n H W) add to the negative log-likelihood of squared errors (n 3 H W)."""
        added = ((weights - 1).unsqueeze(1) * errors).mean()
        return 0.5 * added * torch.exp(-2 * self.log_deviation.detach().clamp(min=0.0))


def change_weights(frames: FrameTensor, previous: FrameTensor, weight: float) -> Tensor:
    """Return how much each pixel's error counts (b t H W), of mean 1: `weight` times as much where a frame changed.

    A pixel has changed where a colour differs by more than `CHANGED` grey levels from `previous` uint8 (b t H W 3).
    Where the whole view moves the weights are nearly even; in a still scene they single out what moves, however small.
    """
    change = (frames.int() - previous.int()).abs().amax(-1) > CHANGED
    weights = torch.where(change, weight, 1.0)
    return weights / weights.mean()
