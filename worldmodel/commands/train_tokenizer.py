"""`train-tokenizer`: stage 1, learn to turn frames into codes and back."""

from __future__ import annotations

import argparse
from pathlib import Path

from .cli import Parser, override
from .training import add_training_flags, report, train_in_processes, training_config


def parser(prog: str) -> argparse.ArgumentParser:
    p = Parser(prog=prog, description="Stage 1: train the VQ-VAE that turns frames into codes and back.")
    add_training_flags(p, minutes=20.0)
    return p


def main(args: argparse.Namespace) -> int:
    if (code := train_in_processes(args)) is not None:
        return code
    from ..config import TokenizerConfig
    from ..rollouts import EpisodeDataset
    from ..training.loop import train
    from ..training.tokenizer import DEFAULTS, TokenizerStage

    dataset = EpisodeDataset(args.data)
    model_settings, training = training_config(args, DEFAULTS, TokenizerConfig)
    config = override(TokenizerConfig(frame_size=dataset.info.frame_size), model_settings)
    stage = TokenizerStage(dataset, config, training)
    return report(args, lambda: train(stage, training, Path(args.out), resume=args.resume))
