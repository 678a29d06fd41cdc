"""`train-tokenizer`: stage 1, learn to turn frames into codes and back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import Parser, UsageError, override
from .training import add_training_flags, report, run_training, training_config

if TYPE_CHECKING:
    from ..config import TokenizerConfig, TrainingConfig
    from ..training.tokenizer import TokenizerStage, VAEStage

KINDS = {"vq": "tokenizer", "vae": "vae"}  # --tokenizer-kind -> the kind of checkpoint it makes


def parser(prog: str) -> argparse.ArgumentParser:
    p = Parser(prog=prog, description="Stage 1: train the VQ-VAE that turns frames into codes and back.")
    add_training_flags(p, minutes=20.0)
    p.add_argument(
        "--tokenizer-kind",
        choices=KINDS,
        default="vq",
        help="vq has the codes that stage 2 needs; vae is the continuous baseline of the same networks, to be measured",
    )
    return p


def main(args: argparse.Namespace) -> int:
    return run_training(args, _train)


def _train(args: argparse.Namespace) -> int:
    from ..checkpoints.checkpoint import INDEX, read_index
    from ..training.loop import train

    out = Path(args.out)
    if args.resume and (out / INDEX).exists():
        read_index(out, kind=KINDS[args.tokenizer_kind])
    stage, training = _stage(args)
    return report(args, lambda: train(stage, training, out, resume=args.resume))


def _stage(args: argparse.Namespace) -> tuple[TokenizerStage | VAEStage, TrainingConfig]:
    """Return what is trained, and how.

    Raises:
        UsageError: if `--set` names a setting that there is not.
    """
    from ..config import TokenizerConfig, VAEConfig
    from ..rollouts import EpisodeDataset
    from ..training.tokenizer import DEFAULTS, TokenizerStage, VAEStage

    dataset = EpisodeDataset(args.data)
    if args.tokenizer_kind == "vae":
        (settings,), training = training_config(args, DEFAULTS, VAEConfig)
        vae = override(VAEConfig(frame_size=dataset.info.frame_size), settings)
        return VAEStage(dataset, vae, training), training
    (settings,), training = training_config(args, DEFAULTS, TokenizerConfig)
    config = override(TokenizerConfig(frame_size=dataset.info.frame_size), settings)
    _require_patches(config)
    return TokenizerStage(dataset, config, training), training


def _require_patches(config: TokenizerConfig) -> None:
    """Refuse a grid of codes that stage 2 could not cut into its patches, before anything is trained on it.

    Raises:
        UsageError: naming the frame sizes that fit.
    """
    from ..config import DynamicsConfig

    patch = DynamicsConfig.patch
    if config.code_grid % patch:
        unit = patch * 2**config.downsamplings
        low = config.frame_size // unit * unit
        grid = f"{config.code_grid}x{config.code_grid}"
        raise UsageError(
            f"frames of {config.frame_size} pixels become {grid} codes, which stage 2 cannot cut into patches of "
            f"{patch}x{patch}; record with --set frame_size={low or unit} or frame_size={low + unit}"
        )
