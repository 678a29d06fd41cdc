"""What the VQ-VAE and the VAE share: networks, pixel likelihood, checkpoints."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from ..checkpoints.checkpoint import build, read
from ..config import TokenizerConfig, VAEConfig, from_dict
from ..types import Frames
from .networks import decoder, encoder

GREY = 127.5  # grey levels in one unit of the networks' -1..1
FRAMES_AT_ONCE = 32  # encoded or decoded in one pass, to bound memory

Config = TypeVar("Config", TokenizerConfig, VAEConfig)
Model = TypeVar("Model", bound="Autoencoder[Any]")


class Autoencoder(nn.Module, Generic[Config]):
    """An encoder, a decoder, and the likelihood of pixels given what the decoder says.

    The likelihood is a Gaussian around each pixel value, in grey levels, with one learned deviation that never falls
    below one grey level. There the density summed over the whole numbers is 1 within 1e-8, so the negative
    log-likelihood is a real code length and bits/dim can be compared.

    Args:
        config: the sizes.
        encoded_dim: numbers at each place of the grid that the encoder gives.
        decoded_dim: numbers at each place of the grid that the decoder takes.
    """

    kind: ClassVar[str]  # of its checkpoints
    config_type: ClassVar[type]

    def __init__(self, config: Config, *, encoded_dim: int, decoded_dim: int) -> None:
        super().__init__()
        self.config: Config = config
        self.encoder = encoder(config, encoded_dim)
        self.decoder = decoder(config, decoded_dim)
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

    def squared_errors(self, frames: Tensor, decoded: Tensor) -> Tensor:
        """Return squared errors in grey levels: uint8 (n H W 3), decoder output (n 3 H W) -> (n 3 H W)."""
        return (rearrange(frames, "n h w c -> n c h w").float() - (decoded.float() + 1) * GREY).square()

    def nll(self, mse: Tensor) -> Tensor:
        """Return -log p(x | latents) in nats per pixel value, from mean squared errors in grey levels."""
        log_deviation = self.log_deviation.clamp(min=0.0)
        return 0.5 * mse * torch.exp(-2 * log_deviation) + log_deviation + 0.5 * math.log(2 * math.pi)

    def fingerprint(self) -> str:
        """Return a SHA-256 of what encodes a frame: another fingerprint means another meaning of what is encoded."""
        digest = hashlib.sha256(repr(self.config).encode())
        for name, value in sorted(self.state_dict().items()):
            if name.startswith(("encoder.", "codebook.vectors")):
                digest.update(name.encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @classmethod
    def from_pretrained(cls: type[Model], directory: str | os.PathLike[str]) -> Model:
        """Load a checkpoint of this kind.

        Raises:
            ValueError: if it is missing, damaged, or another model's.
        """
        checkpoint = read(directory, kind=cls.kind)
        config: Any = from_dict(cls.config_type, checkpoint.config)
        model = build(lambda: cls(config), checkpoint, directory)  # type: ignore[call-arg]
        return model.eval().requires_grad_(False)

    def _few_at_once(self, frames: Frames) -> Iterator[Tensor]:
        """Yield uint8 (b t H W 3) as (n H W 3) on the model's device.

        Raises:
            ValueError: if the frames' size is not the one the model was made for.
        """
        size = self.config.frame_size
        if frames.shape[2:] != (size, size, 3):
            raise ValueError(f"frames must be {size}x{size}x3, got {'x'.join(map(str, frames.shape[2:]))}")
        for part in torch.from_numpy(np.ascontiguousarray(frames)).flatten(0, 1).split(FRAMES_AT_ONCE):
            yield part.to(self.device)

    def _draw(self, latents: Tensor) -> Tensor:
        """Return the frames of quantized or sampled latents: (n d h w) -> uint8 (n 3 H W)."""
        mean = self.decoder(latents.to(memory_format=torch.channels_last))
        return ((mean.float() + 1) * GREY).round().clamp(0, 255).to(torch.uint8)
