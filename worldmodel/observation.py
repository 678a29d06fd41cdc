"""What an agent sees: frames, codes, or the codes' features; the same of an imagined game and of the real one."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from gymnasium import spaces

from .simulator import Simulator
from .types import FrameCodes

OBSERVATIONS = ("frames", "codes", "features")
ROUNDING = 1e-3


class Observer:
    """Turns codes, or real frames by way of their codes, into observations.

    * "frames": the decoded frame, uint8 (H W 3).
    * "codes": int64 (h w).
    * "features": the standardised codebook vectors, averaged over each patch: float32 (c h/p w/p). No decoder is needed.

    A real frame is seen as the tokenizer sees it: an agent trained in imagination meets nothing new in the real game.

    Raises:
        ValueError: if there is no such kind of observation.
    """

    def __init__(self, simulator: Simulator, kind: str) -> None:
        if kind not in OBSERVATIONS:
            raise ValueError(f"observation must be one of {', '.join(OBSERVATIONS)}, got {kind!r}")
        self.simulator, self.kind = simulator, kind
        config = simulator.dynamics.config
        size, grid, patches = simulator.frame_size, config.code_grid, config.patch_grid
        largest = float(simulator.dynamics.code_vectors.abs().max()) + ROUNDING
        self.space: spaces.Box = {
            "frames": spaces.Box(0, 255, (size, size, 3), np.uint8),
            "codes": spaces.Box(0, config.codebook_size - 1, (grid, grid), np.int64),
            "features": spaces.Box(-largest, largest, (config.code_dim, patches, patches), np.float32),
        }[kind]

    @torch.inference_mode()
    def of_codes(self, codes: FrameCodes) -> np.ndarray:
        """Return the observations (b ...) of codes (b h w)."""
        if self.kind == "frames":
            return self.simulator.decode(codes.unsqueeze(1))[:, 0]
        if self.kind == "codes":
            return codes.cpu().numpy().copy()
        p = self.simulator.dynamics.config.patch
        patches = rearrange(codes, "b (h i) (w j) -> b h w (i j)", i=p, j=p)
        vectors = self.simulator.dynamics.vectors(patches).mean(-2)
        return np.ascontiguousarray(rearrange(vectors, "b h w c -> b c h w").float().cpu().numpy())

    def of_frames(self, frames: np.ndarray) -> np.ndarray:
        """Return the observations (b ...) of real frames uint8 (b H W 3)."""
        return self.of_codes(self.simulator.encode(frames[:, None])[:, 0])
