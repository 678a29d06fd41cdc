"""The tokenizer: frames to codes, codes to frames, and the loss that trains both (van den Oord et al. 2017)."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from ..checkpoint import load_weights, read
from ..config import TokenizerConfig, from_dict
from ..types import Codes, Frames, FrameTensor
from .networks import decoder, encoder
from .quantizer import make_codebook

GREY = 127.5  # grey levels in one unit of the networks' -1..1
FRAMES_AT_ONCE = 32  # encoded or decoded in one pass, to bound memory


@dataclass(frozen=True)
class TokenizerLosses:
    """What a training step of the tokenizer reports; `total` is what is minimised."""

    total: Tensor
    nll: Tensor  # nats per pixel value, of p(x | codes)
    commitment: Tensor
    codebook: Tensor
    mse: Tensor  # in grey levels squared
    codes: Tensor  # (n h w)


class Tokenizer(nn.Module):
    """VQ-VAE: uint8 frames (b t H W 3) <-> codes (b t h w) of a codebook of K.

    The decoder's likelihood is a Gaussian around each pixel value, in grey levels, with one learned deviation that
    never falls below one grey level. There the density summed over the whole numbers is 1 within 1e-8, so the negative
    log-likelihood is a real code length and bits/dim can be compared.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder(config)
        self.decoder = decoder(config)
        self.codebook = make_codebook(config)
        self.log_deviation = nn.Parameter(torch.tensor(math.log(20.0)))  # grey levels
        for weight in self.parameters():  # the layout in which convolutions are fastest on a CPU
            if weight.ndim == 4:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        return self.log_deviation.device

    def latents(self, frames: Tensor) -> Tensor:
        """Return the encoder's output: uint8 (n H W 3) -> (n d h w)."""
        pixels = rearrange(frames, "n h w c -> n c h w").to(memory_format=torch.channels_last)
        out: Tensor = self.encoder(pixels.float() / GREY - 1)
        return out

    @torch.no_grad()
    def encode(self, frames: Frames) -> Codes:
        """Return the codes of frames: uint8 (b t H W 3) -> int64 (b t h w).

        Raises:
            ValueError: if the frames' size is not the one the tokenizer was made for.
        """
        size = self.config.frame_size
        if frames.shape[2:] != (size, size, 3):
            raise ValueError(f"frames must be {size}x{size}x3, got {'x'.join(map(str, frames.shape[2:]))}")
        b, t = frames.shape[:2]
        flat = torch.from_numpy(np.ascontiguousarray(frames)).flatten(0, 1)
        grids = []
        for part in flat.split(FRAMES_AT_ONCE):
            latents = self.latents(part.to(self.device))
            n, _, h, w = latents.shape
            codes = self.codebook.codes(rearrange(latents, "n d h w -> (n h w) d"))
            grids.append(rearrange(codes, "(n h w) -> n h w", n=n, h=h, w=w))
        return rearrange(torch.cat(grids), "(b t) h w -> b t h w", b=b, t=t)

    @torch.no_grad()
    def decode(self, codes: Codes) -> Frames:
        """Return the frames of codes: int64 (b t h w) -> uint8 (b t H W 3)."""
        b, t = codes.shape[:2]
        frames = [self._pixels(self.codebook.lookup(part)) for part in codes.flatten(0, 1).split(FRAMES_AT_ONCE)]
        return rearrange(torch.cat(frames), "(b t) c h w -> b t h w c", b=b, t=t).cpu().numpy()

    def _pixels(self, quantized: Tensor) -> Tensor:
        mean = self.decoder(rearrange(quantized, "n h w d -> n d h w").to(memory_format=torch.channels_last))
        return ((mean.float() + 1) * GREY).round().clamp(0, 255).to(torch.uint8)

    def loss(self, frames: FrameTensor, *, restart: bool = True, generator: torch.Generator) -> TokenizerLosses:
        """Return the three-term loss (eq. 3) of frames uint8 (b t H W 3), and let the codebook learn.

        -log p(x | z_q) + ||sg[z_e] - e||^2 + beta ||z_e - sg[e]||^2, all per pixel value of the frame. `restart` lets
        the codebook revive dead codes; `generator` (on the CPU) chooses where.
        """
        pixels = frames.flatten(0, 1)
        latents = self.latents(pixels)
        n, _, h, w = latents.shape
        flat = rearrange(latents.float(), "n d h w -> (n h w) d")
        if self.training:
            self.codebook.start(flat.detach(), generator=generator)
        codes = self.codebook.codes(flat.detach())
        quantized = self.codebook.lookup(codes)
        if self.training:
            self.codebook.update(flat.detach(), codes, restart=restart, generator=generator)
        straight = flat + (quantized - flat).detach()  # the decoder's gradient passes to the encoder unchanged
        mean = self.decoder(rearrange(straight, "(n h w) d -> n d h w", n=n, h=h, w=w))
        errors = rearrange(pixels, "n h w c -> n c h w").float() - (mean.float() + 1) * GREY
        mse = errors.square().mean()
        nll = self._nll(mse)
        per_value = len(flat) / errors.numel()  # turns a mean over latents into a sum per pixel value
        commitment = (flat - quantized.detach()).square().sum(-1).mean() * per_value
        codebook = self.codebook.loss(flat, quantized).mean() * per_value
        total = nll + codebook + self.config.commitment_weight * commitment
        grid = rearrange(codes, "(n h w) -> n h w", n=n, h=h, w=w)
        return TokenizerLosses(total, nll.detach(), commitment.detach(), codebook.detach(), mse.detach(), grid)

    def forward(self, frames: FrameTensor, *, restart: bool, generator: torch.Generator) -> TokenizerLosses:
        """The same as `loss`: the name by which torch's wrappers for several processes call it."""
        return self.loss(frames, restart=restart, generator=generator)

    @classmethod
    def from_pretrained(cls, directory: str | os.PathLike[str]) -> Tokenizer:
        """Load a tokenizer's checkpoint.

        Raises:
            ValueError: if it is missing, damaged, or another model's.
        """
        checkpoint = read(directory, kind="tokenizer")
        tokenizer = cls(from_dict(TokenizerConfig, checkpoint.config))
        load_weights(tokenizer, checkpoint, directory)
        return tokenizer.eval().requires_grad_(False)

    def _nll(self, mse: Tensor) -> Tensor:
        log_deviation = self.log_deviation.clamp(min=0.0)
        return 0.5 * mse * torch.exp(-2 * log_deviation) + log_deviation + 0.5 * math.log(2 * math.pi)

    def fingerprint(self) -> str:
        """Return a SHA-256 of what turns frames into codes: another fingerprint means another meaning of every code."""
        digest = hashlib.sha256(repr(self.config).encode())
        for name, value in sorted(self.state_dict().items()):
            if name.startswith(("encoder.", "codebook.vectors")):
                digest.update(name.encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
