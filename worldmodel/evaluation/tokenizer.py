"""How much of a frame survives being turned into codes?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..simulator import Simulator
from .clips import Clips, psnr


def evaluate_tokenizer(simulator: Simulator, clips: Clips) -> dict[str, Any]:
    """Return the reconstruction's PSNR in dB over all and over moving clips, and how the codebook is used."""
    size = simulator.tokenizer.config.codebook_size
    counts = torch.zeros(size, dtype=torch.float64)
    quality = []
    for frames in clips.frames:
        codes = simulator.tokenizer.encode(frames[None])
        counts += torch.bincount(codes.flatten(), minlength=size)
        quality.append(psnr(simulator.decode(codes)[0], frames).mean())
    shares = counts / counts.sum()
    return {
        "psnr": float(np.mean(quality)),
        "psnr_moving": float(np.mean(np.array(quality)[clips.moving])),
        "codes_used": int((counts > 0).sum()),
        "perplexity": float(torch.exp(-torch.xlogy(shares, shares).sum())),
        "commonest_code": float(shares.max()),
        "frames": int(clips.frames.shape[0] * clips.frames.shape[1]),
    }
