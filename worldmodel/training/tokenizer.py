"""Stage 1: train the tokenizer, or the VAE it is measured against, on single frames."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..checkpoints.checkpoint import Checkpoint, read, write
from ..config import TokenizerConfig, TrainingConfig, VAEConfig, to_dict
from ..rollouts import EpisodeDataset
from ..tokenizer.model import Tokenizer, change_weights
from ..tokenizer.vae import VAE, active
from ..types import Report
from .data import FrameClips, first_episodes
from .optimizer import prepare

WARN_BELOW, STOP_BELOW = 0.5, 0.05  # of the codes that the data can use
JUDGED_FROM = 0.1  # share of the run: before it, codes are still found
COLOUR_LEVELS = 16  # of a channel, where two places of a frame are told apart
RESTART_UNTIL = 0.7  # share of the run; after it the codes settle and none is restarted
HELD_OUT_FRAMES = 256
SHEET_FRAMES = 8

DEFAULTS = TrainingConfig(batch=4, clip=1, learning_rate=1e-3, weight_decay=0.0, minutes=20.0)


Model = TypeVar("Model", Tokenizer, VAE)


class CollapsedError(RuntimeError):
    """Nearly no code of the codebook is in use: what is trained on these codes can see nothing."""


class FrameStage(Generic[Model]):
    """What the training of every model of single frames has in common: its data, its sheet and its checkpoint."""

    def __init__(self, dataset: EpisodeDataset, make: Callable[[], Model], training: TrainingConfig) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            self.model: Model = make()
        size = self.model.config.frame_size
        if dataset.info.frame_size != size:
            raise ValueError(
                f"the data set's frames are {dataset.info.frame_size} pixels wide, the {self.model.kind}'s {size}"
            )
        prepare(self.model, training, read(training.init, kind=self.model.kind).tensors if training.init else {})
        self.batch = training.batch
        episodes = first_episodes(dataset, training.episodes)
        self.clips = FrameClips(dataset, clip=training.clip, episodes=episodes)
        self.fingerprint = dataset.fingerprint
        self.held_out = self.clips.read(self.clips.held_out.spread(HELD_OUT_FRAMES))[:, :1]

    def identity(self) -> dict[str, Any]:
        return {"model": self.model.config, "data": self.fingerprint}

    def begin(self, *, signals: Sequence[int], visible: bool) -> None:
        """Nothing comes before the first step."""

    def read(self, frames: Callable[[list[tuple[int, int]]], np.ndarray], places: list[tuple[int, int]]) -> Tensor:
        """Return what `frames` gives for `places` on the model's device: uint8 (b t H W 3)."""
        return torch.from_numpy(frames(places)).to(self.model.device)

    def sheet(self, model: nn.Module, path: Path) -> None:
        """Draw held-out frames above their reconstructions."""
        assert isinstance(model, Tokenizer | VAE)
        frames = self.held_out[:: max(1, len(self.held_out) // SHEET_FRAMES)][:SHEET_FRAMES]
        rebuilt = model.decode(model.encode(frames))
        rows = np.concatenate([frames[:, 0], rebuilt[:, 0]], axis=1)
        Image.fromarray(np.concatenate(list(rows), axis=1)).save(path)

    def save(self, model: nn.Module, out: Path, metrics: dict[str, Any]) -> None:
        assert isinstance(model, Tokenizer | VAE)
        save_tokenizer(model, out, metrics | {"data": self.fingerprint})


class TokenizerStage(FrameStage[Tokenizer]):
    """What the loop needs to train a tokenizer."""

    def __init__(self, dataset: EpisodeDataset, config: TokenizerConfig, training: TrainingConfig) -> None:
        super().__init__(dataset, lambda: Tokenizer(config), training)
        self.usable = usable_codes(self.held_out, config)
        self.progress = 0.0
        self.change_weight = training.change_weight

    def losses(
        self, model: nn.Module, rng: np.random.Generator, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        self.progress = progress
        places = self.clips.training.draw(rng, self.batch)
        frames = self.read(self.clips.read, places)
        weights = None
        if self.change_weight != 1:
            weights = change_weights(frames, self.read(self.clips.previous, places), self.change_weight)
        losses = model(frames, weights, restart=progress < RESTART_UNTIL, generator=generator)
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

    def evaluate(self, model: nn.Module, report: Report) -> dict[str, float]:
        """Return PSNR, bits/dim and the use of the codebook over the held-out frames.

        Raises:
            CollapsedError: if less than STOP_BELOW of the codes that the data can use are in use.
        """
        assert isinstance(model, Tokenizer)
        codes = model.encode(self.held_out)
        report(1, 2)
        mse = _squared_error(model.decode(codes), self.held_out)
        used, perplexity = usage(codes, model.config.codebook_size)
        if self.progress >= JUDGED_FROM:
            judge_usage(int(used), self.usable, model.config.codebook_size)
        nll = model.nll(mse.mean().to(model.device)).item()
        prior = model.config.num_codes * math.log2(model.config.codebook_size) / self.held_out[0].size
        return {
            "psnr": psnr(mse).mean().item(),
            "bits_per_dim": nll / math.log(2) + prior,  # with the uniform prior's bits for the codes
            "codes_used": used.item(),
            "codes_dead": model.config.codebook_size - used.item(),
            "perplexity": perplexity.item(),
        }


class VAEStage(FrameStage[VAE]):
    """What the loop needs to train a VAE."""

    def __init__(self, dataset: EpisodeDataset, config: VAEConfig, training: TrainingConfig) -> None:
        super().__init__(dataset, lambda: VAE(config), training)

    def losses(
        self, model: nn.Module, rng: np.random.Generator, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        frames = self.read(self.clips.read, self.clips.training.draw(rng, self.batch))
        losses = model(frames, generator=generator)
        return {
            "total": losses.total,
            "bits_per_dim": losses.total / math.log(2),
            "psnr": psnr(losses.mse),
            "kl_bits": losses.kl * self.held_out[0].size / math.log(2),
            "active_units": active(losses.means).sum(),
        }

    def evaluate(self, model: nn.Module, report: Report) -> dict[str, float]:
        """Return PSNR of the posterior's mean and of a sample, bits/dim, KL in bits a frame, and the active units.

        bits/dim are -ELBO of the sample: a bound of what a frame costs.
        """
        assert isinstance(model, VAE)
        posterior = model.posteriors(self.held_out)
        report(1, 3)
        sample = posterior.sample(generator=torch.Generator().manual_seed(0))
        mean_error = _squared_error(model.decode(posterior.mean[:, None]), self.held_out)
        report(2, 3)
        sample_error = _squared_error(model.decode(sample[:, None]), self.held_out)
        kl = posterior.kl().sum() / self.held_out.size
        nll = model.nll(sample_error.mean().to(model.device))
        return {
            "psnr": psnr(mean_error).mean().item(),
            "psnr_sample": psnr(sample_error).mean().item(),
            "bits_per_dim": (nll + kl).item() / math.log(2),
            "kl_bits": kl.item() * self.held_out[0].size / math.log(2),
            "active_units": active(posterior.mean).sum().item(),
        }


def usable_codes(frames: np.ndarray, config: TokenizerConfig) -> int:
    """Return how many codes frames (b t H W 3) can use: at most the codebook, fewer where they show little.

    A code belongs to a place of `frame_size / code_grid` pixels a side. Places are told apart by their pixels at
    COLOUR_LEVELS a channel. A pattern uses a code if it is so frequent that its code would not count as dead; the
    rarer ones together use as many codes as they could keep alive.
    """
    cell = config.frame_size // config.code_grid
    grid = frames.reshape(-1, config.code_grid, cell, config.code_grid, cell, 3).swapaxes(2, 3)
    places = (grid // (256 // COLOUR_LEVELS)).reshape(-1, cell * cell * 3)
    _, counts = np.unique(places.view(f"V{places.shape[1]}"), return_counts=True)
    least = max(1.0, config.restart_below * len(places) / config.codebook_size)  # of an even use
    frequent = counts >= least
    return int(min(config.codebook_size, frequent.sum() + counts[~frequent].sum() // least))


def judge_usage(used: int, usable: int, size: int) -> None:
    """Warn on stderr if less than WARN_BELOW of the usable codes are in use.

    Raises:
        CollapsedError: if it is less than STOP_BELOW.
    """
    said = f"{used} of {size} codes are in use, and these frames could use {usable}"
    remedy = "lower learning_rate, raise restart_below, or record more varied frames"
    if used < STOP_BELOW * usable:
        raise CollapsedError(f"the codebook has collapsed: {said}; {remedy}")
    if used < WARN_BELOW * usable:
        print(f"warning: {said}; {remedy}", file=sys.stderr)


def usage(codes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return how many codes appear, and the perplexity exp(entropy) of their distribution."""
    counts = torch.bincount(codes.flatten(), minlength=size).float()
    shares = counts / counts.sum()
    return (counts > 0).sum(), torch.exp(-torch.xlogy(shares, shares).sum())


def _squared_error(frames: np.ndarray, real: np.ndarray) -> Tensor:
    """Return the mean squared error in grey levels of each clip: uint8 (b t H W 3) twice -> (b)."""
    return torch.from_numpy((frames.astype(np.float32) - real) ** 2).mean((1, 2, 3, 4))


def psnr(mse: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB of mean squared errors in grey levels of 0..255."""
    return 10 * torch.log10(255**2 / mse.clamp(min=1e-6))


def save_tokenizer(model: Tokenizer | VAE, out: Path, metrics: dict[str, Any]) -> None:
    """Write the checkpoint of a tokenizer, or of a VAE."""
    tensors = dict(model.state_dict())
    config = to_dict(model.config)
    write(out, Checkpoint(kind=model.kind, config=config, metrics=metrics, tensors=tensors))
