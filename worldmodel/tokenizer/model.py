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


@dataclass(frozen=True)
class TokenizerLosses:
    """What a training step of the tokenizer reports; `total` is what is minimised."""

    total: Tensor
    nll: Tensor  # nats per pixel value, of p(x | codes)
    commitment: Tensor
    codebook: Tensor
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

    def loss(self, frames: FrameTensor, *, restart: bool = True, generator: torch.Generator) -> TokenizerLosses:
        """Return the three-term loss (eq. 3) of frames uint8 (b t H W 3), and let the codebook learn.

        -log p(x | z_q) + ||sg[z_e] - e||^2 + beta ||z_e - sg[e]||^2, all per pixel value of the frame. `restart` lets
        the codebook revive dead codes; `generator` (on the CPU) chooses where. Where the encoder is not trained, codes
        keep their meaning: the codebook does not learn either.
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
        mse = self.squared_error(pixels, self.decoder(rearrange(straight, "(n h w) d -> n d h w", n=n, h=h, w=w)))
        nll = self.nll(mse)
        per_value = len(flat) / pixels.numel()  # turns a mean over latents into a sum per pixel value
        commitment = (flat - quantized.detach()).square().sum(-1).mean() * per_value
        codebook = self.codebook.loss(flat, quantized).mean() * per_value
        total = nll + codebook + self.config.commitment_weight * commitment
        grid = rearrange(codes, "(n h w) -> n h w", n=n, h=h, w=w)
        return TokenizerLosses(total, nll.detach(), commitment.detach(), codebook.detach(), mse.detach(), grid)

    def forward(self, frames: FrameTensor, *, restart: bool, generator: torch.Generator) -> TokenizerLosses:
        """The same as `loss`: the name by which torch's wrappers for several processes call it."""
        return self.loss(frames, restart=restart, generator=generator)
