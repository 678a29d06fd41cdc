"""A tiny recorded data set and tiny stages for training tests."""

from __future__ import annotations

from pathlib import Path

from worldmodel.rollouts import CollectConfig, EpisodeDataset, Goal, collect

from worldmodel.config import TokenizerConfig, TrainingConfig
from worldmodel.training.tokenizer import TokenizerStage


def record_toy(path: Path) -> Path:
    """Record four episodes of the toy world in frames of 32 pixels."""
    collect(CollectConfig(env="toy", frame_size=32, policy="random"), path, goal=Goal(episodes=4))
    return path


def tiny_tokenizer_stage(data: Path, config: TrainingConfig) -> TokenizerStage:
    """A real stage on real recordings with a tiny network."""
    dataset = EpisodeDataset(data)
    model = TokenizerConfig(
        frame_size=dataset.info.frame_size, codebook_size=16, code_dim=8, hidden_dim=16, residual_dim=8
    )
    return TokenizerStage(dataset, model, config)
