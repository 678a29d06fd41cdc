"""`worldmodel benchmark train`: frames/s of training steps on random clips, and what share of the machine they use."""

from __future__ import annotations

import argparse
import statistics
from typing import TYPE_CHECKING

from .benchmark import Measurement
from .cli import add_settings, override
from .training import training_config

if TYPE_CHECKING:
    from ..config import TrainingConfig
    from ..dynamics.model import Dynamics
    from ..tokenizer.model import Tokenizer

WARM_UP_STEPS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the mode's own arguments."""
    parser.add_argument("--stage", choices=["dynamics", "tokenizer"], default="dynamics", help="which model is trained")
    parser.add_argument("--steps", type=int, default=10, metavar="N", help="of a run")
    parser.add_argument("--compile", action="store_true", help="compile the model first, which takes a minute")
    add_settings(
        parser,
        "change any setting of the model or the training; without it the model is the one of the package",
    )


def measure(args: argparse.Namespace) -> Measurement:
    """Return the frames/s of every step after a few that warm up, and where its time goes.

    Raises:
        ValueError: if there is no step to measure or a setting cannot be.
    """
    if args.steps < 1:
        raise ValueError(f"--steps must be at least 1, got {args.steps}")
    import torch

    from ..benchmark.roofline import product_speed
    from ..runtime import limit_threads
    from ..training.throughput import PARTS, Steps, compute_dtype, frame_flops

    limit_threads()
    model, config = _model(args)
    steps = Steps(model, config)
    for _ in range(WARM_UP_STEPS):
        steps.step()
    rows = [steps.step() for _ in range(args.steps * args.repeats)]
    frames = config.batch * config.clip
    speeds = [frames / sum(row.values()) for row in rows]
    seconds = {part: statistics.median(row[part] for row in rows) for part in PARTS}
    dtype = compute_dtype(config.precision, model.device)
    flops = frame_flops(model, config.clip)
    achieved = flops * statistics.median(speeds)
    ceiling = product_speed(dtype, model.device)
    figures = {
        "settings": {
            "stage": args.stage,
            "device": str(model.device),
            "dtype": str(dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "batch": config.batch,
            "clip": config.clip,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "compile": config.compile,
        },
        "milliseconds": {part: 1e3 * value for part, value in seconds.items()},
        "shares": {part: value / sum(seconds.values()) for part, value in seconds.items()},
        "arithmetic": {
            "gflop_per_frame": flops / 1e9,
            "gflop_per_second": achieved / 1e9,
            "ceiling_gflop_per_second": ceiling / 1e9,
            "mfu": achieved / ceiling,
        },
    }
    return Measurement(speeds={"training": speeds}, figures=figures)


def _model(args: argparse.Namespace) -> tuple[Dynamics | Tokenizer, TrainingConfig]:
    """Return a model with fresh weights and the shipped one's settings, changed as the command line says."""
    import torch

    from ..checkpoints.checkpoint import read_index
    from ..config import DynamicsConfig, TokenizerConfig, from_dict
    from ..dynamics.model import Dynamics
    from ..runtime import default_device
    from ..simulator import PRETRAINED
    from ..tokenizer.model import Tokenizer
    from ..training import dynamics, tokenizer
    from ..training.optimizer import prepare

    is_tokenizer = args.stage == "tokenizer"
    kind: type[DynamicsConfig] | type[TokenizerConfig] = TokenizerConfig if is_tokenizer else DynamicsConfig
    defaults = tokenizer.DEFAULTS if is_tokenizer else dynamics.DEFAULTS
    shipped = read_index(PRETRAINED / "tokenizer" if is_tokenizer else PRETRAINED, kind=args.stage)["config"]
    shipped.pop("tokenizer", None)  # the fingerprint of the one it was trained with
    (for_model,), training = training_config(argparse.Namespace(set=args.set), defaults, kind)
    training = override(training, ["compile=true"]) if args.compile else training
    config = override(from_dict(kind, shipped), for_model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        if isinstance(config, TokenizerConfig):
            model: Dynamics | Tokenizer = Tokenizer(config)
        else:
            model = Dynamics(config, torch.randn(config.codebook_size, config.code_dim))
    prepare(model, training, {})
    return model.to(default_device()), training
