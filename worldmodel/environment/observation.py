"""What an agent sees: frames, codes, or the codes' features; the same of an imagined game and of the real one."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from gymnasium import spaces
from torch.nn import functional as F

from ..runtime import autocast
from ..tokenizer.model import Tokenizer
from ..types import FrameCodes

OBSERVATIONS = ("frames", "codes", "features")
ROUNDING = 1e-3
POOL = 2  # codes to a side of what is averaged


class Observer:
    """Turns codes, or real frames by way of their codes, into observations.

    * "frames": the decoded frame, uint8 (H W 3).
    * "codes": int64 (h w).
    * "features": the standardised codebook vectors, averaged over 2x2 codes: float32 (c h/2 w/2). It takes no decoder.

    A real frame is seen as the tokenizer sees it: an agent trained in imagination meets nothing new in the real game.

    Raises:
        ValueError: if there is no such kind of observation.
    """

    def __init__(self, tokenizer: Tokenizer, kind: str) -> None:
        if kind not in OBSERVATIONS:
            raise ValueError(f"observation must be one of {', '.join(OBSERVATIONS)}, got {kind!r}")
        self.tokenizer, self.kind = tokenizer, kind
        config, codebook = tokenizer.config, tokenizer.codebook.vectors.detach().float()
        self.vectors = (codebook - codebook.mean(0)) / codebook.std(0).clamp(min=1e-6)
        size, grid, largest = config.frame_size, config.code_grid, float(self.vectors.abs().max()) + ROUNDING
        self.pool = 1 if grid % POOL else POOL
        space: dict[str, spaces.Box] = {
            "frames": spaces.Box(0, 255, (size, size, 3), np.uint8),
            "codes": spaces.Box(0, config.codebook_size - 1, (grid, grid), np.int64),
            "features": spaces.Box(
                -largest, largest, (config.code_dim, grid // self.pool, grid // self.pool), np.float32
            ),
        }
        self.space = space[kind]

    @torch.inference_mode()
    def of_codes(self, codes: FrameCodes) -> np.ndarray:
        """Return the observations (b ...) of codes (b h w)."""
        if self.kind == "codes":
            return codes.cpu().numpy().copy()
        if self.kind == "frames":
            with autocast(self.tokenizer.device):
                return self.tokenizer.decode(codes.unsqueeze(1))[:, 0]
        vectors = rearrange(F.embedding(codes, self.vectors), "b h w c -> b c h w")
        return F.avg_pool2d(vectors, self.pool).cpu().numpy()

    @torch.inference_mode()
    def of_frames(self, frames: np.ndarray) -> np.ndarray:
        """Return the observations (b ...) of real frames uint8 (b H W 3)."""
        with autocast(self.tokenizer.device):
            codes = self.tokenizer.encode(frames[:, None])
        return self.of_codes(codes[:, 0])
