"""Tiny stages for training tests."""

from __future__ import annotations

from pathlib import Path

from worldmodel.config import TokenizerConfig, TrainingConfig
from worldmodel.rollouts import EpisodeDataset
from worldmodel.training.tokenizer import TokenizerStage


def tiny_tokenizer_stage(data: Path, config: TrainingConfig) -> TokenizerStage:
    """A real stage on real recordings with a tiny network."""
    dataset = EpisodeDataset(data)
    model = TokenizerConfig(
        frame_size=dataset.info.frame_size, codebook_size=16, code_dim=8, hidden_dim=16, residual_dim=8
    )
    return TokenizerStage(dataset, model, config)
