"""Tiny stages for training tests."""

from __future__ import annotations

from pathlib import Path

from worldmodel.config import TokenizerConfig, TrainingConfig, VAEConfig
from worldmodel.rollouts import EpisodeDataset
from worldmodel.training.tokenizer import TokenizerStage, VAEStage


def tiny_tokenizer_stage(data: Path, config: TrainingConfig) -> TokenizerStage:
    """A real stage on real recordings with a tiny network."""
    dataset = EpisodeDataset(data)
    model = TokenizerConfig(
        frame_size=dataset.info.frame_size, codebook_size=16, code_dim=8, hidden_dim=16, residual_dim=8
    )
    return TokenizerStage(dataset, model, config)


def tiny_vae_stage(data: Path, config: TrainingConfig) -> VAEStage:
    """The same with a VAE."""
    dataset = EpisodeDataset(data)
    model = VAEConfig(frame_size=dataset.info.frame_size, latent_dim=8, hidden_dim=16, residual_dim=8)
    return VAEStage(dataset, model, config)
