"""`train-dynamics`: stage 2, learn which codes follow which, given the actions."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from .cli import Parser, override
from .training import add_training_flags, report, run_training, training_config


def parser(prog: str) -> argparse.ArgumentParser:
    p = Parser(prog=prog, description="Stage 2: train the transformer that predicts the next frame's codes.")
    add_training_flags(p, minutes=60.0)
    p.add_argument("--tokenizer", required=True, metavar="DIR", help="a tokenizer trained by train-tokenizer")
    return p


def main(args: argparse.Namespace) -> int:
    return run_training(args, _train)


def _train(args: argparse.Namespace) -> int:
    from ..checkpoints.checkpoint import read_index
    from ..config import DynamicsConfig
    from ..learned_map.config import LearnedMapConfig
    from ..rollouts import EpisodeDataset
    from ..runtime import default_device
    from ..tokenizer.model import Tokenizer
    from ..training import launch
    from ..training.data import cache_directory, fitting_clip
    from ..training.dynamics import DEFAULTS, DynamicsStage, train_dynamics
    from ..training.map_run import wants_map
    from ..training.outcome import outcome_settings

    dataset = EpisodeDataset(args.data)
    tokenizer = Tokenizer.from_pretrained(args.tokenizer).to(default_device())
    (model_settings, map_settings), training = training_config(args, DEFAULTS, DynamicsConfig, LearnedMapConfig)
    lengths = dataset.lengths[: training.episodes or None]
    training = dataclasses.replace(training, clip=fitting_clip(lengths, training.clip, visible=not launch.rank()))
    codes: dict[str, Any] = {
        "action_names": dataset.info.action_names,
        "code_grid": tokenizer.config.code_grid,
        "codebook_size": tokenizer.config.codebook_size,
        "code_dim": tokenizer.config.code_dim,
        "code_pixels": tokenizer.config.frame_size // tokenizer.config.code_grid,
    }
    has_map = wants_map(training.learned_map, dataset.info)
    config = override(
        DynamicsConfig(
            **codes,
            frame_skip=dataset.info.frame_skip,
            frames_per_second=dataset.info.frames_per_second,
            expectation=has_map,
            **outcome_settings(dataset),
        ),
        model_settings,
    )
    map_config = override(LearnedMapConfig(**codes, tics_per_step=dataset.info.frame_skip), map_settings)
    metrics = read_index(args.tokenizer, kind="tokenizer")["metrics"]
    cache = cache_directory(dataset, tokenizer, Path(args.out))
    stage = DynamicsStage(
        dataset,
        tokenizer,
        config,
        training,
        cache=cache,
        tokenizer_metrics=metrics,
        map_config=map_config if has_map else None,
    )
    return report(args, lambda: train_dynamics(stage, training, Path(args.out), resume=args.resume))
