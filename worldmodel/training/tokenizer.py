"""Stage 1: train the tokenizer on single frames."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..checkpoint import Checkpoint, read, write
from ..config import TokenizerConfig, TrainingConfig, to_dict
from ..rollouts import EpisodeDataset
from ..tokenizer.model import Tokenizer
from .data import FrameClips, first_episodes
from .optimizer import prepare

RESTART_UNTIL = 0.7  # share of the run; after it the codes settle and none is restarted
HELD_OUT_FRAMES = 256
SHEET_FRAMES = 8

DEFAULTS = TrainingConfig(batch=4, clip=1, learning_rate=1e-3, weight_decay=0.0, minutes=20.0)


class TokenizerStage:
    """What the loop needs to train a tokenizer."""

    def __init__(self, dataset: EpisodeDataset, config: TokenizerConfig, training: TrainingConfig) -> None:
        if dataset.info.frame_size != config.frame_size:
            raise ValueError(
                f"the data set's frames are {dataset.info.frame_size} pixels wide, the tokenizer's {config.frame_size}"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            self.model = Tokenizer(config)
        prepare(self.model, training, read(training.init, kind="tokenizer").tensors if training.init else {})
        self.batch = training.batch
        episodes = first_episodes(dataset, training.episodes)
        self.clips = FrameClips(dataset, clip=training.clip, episodes=episodes)
        self.fingerprint = dataset.fingerprint
        self.held_out = self.clips.read(self.clips.held_out.spread(HELD_OUT_FRAMES))[:, :1]

    def identity(self) -> dict[str, Any]:
        return {"model": self.model.config, "data": self.fingerprint}

    def losses(
        self, model: nn.Module, rng: np.random.Generator, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        frames = torch.from_numpy(self.clips.read(self.clips.training.draw(rng, self.batch))).to(self.model.device)
        losses = model(frames, restart=progress < RESTART_UNTIL, generator=generator)
        used, perplexity = usage(losses.codes, self.model.config.codebook_size)
        return {
            "total": losses.total,
            "bits_per_dim": losses.nll / math.log(2),
            "psnr": psnr(losses.mse),
            "commitment": losses.commitment,
            "codebook": losses.codebook,
            "codes_used": used,
            "perplexity": perplexity,
        }

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return PSNR, bits/dim and the use of the codebook over the held-out frames."""
        assert isinstance(model, Tokenizer)
        codes = model.encode(self.held_out)
        error = (model.decode(codes).astype(np.float32) - self.held_out) ** 2
        mse = torch.from_numpy(error).mean((1, 2, 3, 4))
        used, perplexity = usage(codes, model.config.codebook_size)
        deviation = model.log_deviation.clamp(min=0).exp().item()
        nll = 0.5 * mse.mean().item() / deviation**2 + math.log(deviation) + 0.5 * math.log(2 * math.pi)
        prior = model.config.num_codes * math.log2(model.config.codebook_size) / self.held_out[0].size
        return {
            "psnr": psnr(mse).mean().item(),
            "bits_per_dim": nll / math.log(2) + prior,  # with the uniform prior's bits for the codes
            "codes_used": used.item(),
            "codes_dead": model.config.codebook_size - used.item(),
            "perplexity": perplexity.item(),
        }

    def sheet(self, model: nn.Module, path: Path) -> None:
        """Draw held-out frames above their reconstructions."""
        assert isinstance(model, Tokenizer)
        frames = self.held_out[:: max(1, len(self.held_out) // SHEET_FRAMES)][:SHEET_FRAMES]
        rows = np.concatenate([frames[:, 0], model.decode(model.encode(frames))[:, 0]], axis=1)
        Image.fromarray(np.concatenate(list(rows), axis=1)).save(path)

    def save(self, model: nn.Module, out: Path, metrics: dict[str, Any]) -> None:
        assert isinstance(model, Tokenizer)
        save_tokenizer(model, out, metrics | {"data": self.fingerprint})


def usage(codes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return how many codes appear, and the perplexity exp(entropy) of their distribution."""
    counts = torch.bincount(codes.flatten(), minlength=size).float()
    shares = counts / counts.sum()
    return (counts > 0).sum(), torch.exp(-torch.xlogy(shares, shares).sum())


def psnr(mse: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB of mean squared errors in grey levels of 0..255."""
    return 10 * torch.log10(255**2 / mse.clamp(min=1e-6))


def save_tokenizer(model: Tokenizer, out: Path, metrics: dict[str, Any]) -> None:
    """Write a tokenizer's checkpoint."""
    tensors = dict(model.state_dict())
    config = to_dict(model.config)
    write(out, Checkpoint(kind="tokenizer", config=config, metrics=metrics, tensors=tensors))
