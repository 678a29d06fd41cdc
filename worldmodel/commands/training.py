"""What the two training commands share: their flags, how a run ends, and what is said then."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import ProcessError, UsageError, add_settings, override

if TYPE_CHECKING:
    from ..config import TrainingConfig
    from ..training.loop import Progress


def add_training_flags(p: argparse.ArgumentParser, *, minutes: float) -> None:
    """Add the flags that both training commands take."""
    p.add_argument("--data", required=True, metavar="DIR", help="a data set recorded by collect-rollouts")
    p.add_argument("--out", required=True, metavar="DIR", help="where the checkpoint, the log and the sheet go")
    p.add_argument("--minutes", type=float, default=minutes, help="train at most so long")
    p.add_argument("--steps", type=int, default=None, help="train at most so many steps (default: no limit)")
    p.add_argument("--seed", type=int, default=0, help="of the weights, the batches and the noise")
    p.add_argument("--resume", action="store_true", help="continue the run in --out exactly where it was saved")
    p.add_argument(
        "--processes",
        type=int,
        default=0,
        metavar="N",
        help="train one model in N processes, each with clips of its own; 0 means one a GPU or core, or as before",
    )
    add_settings(
        p,
        "change any setting of the model or the training",
    )


def run_training(args: argparse.Namespace, train: Callable[[argparse.Namespace], int]) -> int:
    """Run `train` in as many processes as it should be, --out locked meanwhile, and return the exit code.

    Raises:
        UsageError: if so many processes cannot be.
        ValueError: if another process is writing into --out, or the processes could not talk with each other.
        ProcessError: if one of them failed.
    """
    from ..config import MAX_PROCESSES
    from ..rollouts.lock import locked
    from ..training import launch

    if not 0 <= args.processes <= MAX_PROCESSES:
        raise UsageError(f"--processes must be 0 (automatic) to {MAX_PROCESSES}, got {args.processes}")
    if launch.is_launched():
        # One of ours is below the lock of who launched it; of torchrun's, the first takes it.
        with nullcontext() if launch.is_ours() or launch.rank() else locked(Path(args.out)):
            return train(args)
    number = args.processes or launch.choose_processes(Path(args.out), resume=args.resume)
    if number > 1 and not (args.processes or args.resume or launch.has_loopback()):
        print("the loopback interface is down: training in one process instead of several", file=sys.stderr)
        number = 1
    with locked(Path(args.out)):
        return train(args) if number == 1 else _train_in_processes(args, number)


def _train_in_processes(args: argparse.Namespace, number: int) -> int:
    from ..training import launch

    launch.require_loopback(number)
    # -P: a folder that happens to be named worldmodel is not the package.
    command = [sys.executable, "-P", "-m", "worldmodel", *args.words]
    code, error = launch.launch(command, number)
    if error:
        raise ProcessError(error, code)
    return code


def training_config(
    args: argparse.Namespace, defaults: TrainingConfig, *models: type
) -> tuple[list[list[str]], TrainingConfig]:
    """Return the `--set` assignments meant for each model's config, and the training's config with the rest applied.

    A name that several models' configs have goes to all of them.
    """
    from ..checkpoints.upgrade import upgraded_assignment

    assignments = [upgraded_assignment(text) for text in args.set]
    of_training = {field.name for field in dataclasses.fields(defaults)}
    for_models: list[list[str]] = []
    for model in models:
        names = {field.name for field in dataclasses.fields(model)} - of_training
        for_models.append([text for text in assignments if text.partition("=")[0] in names])
    rest = [text for text in assignments if not any(text in texts for texts in for_models)]
    flags = {name: getattr(args, name) for name in ("minutes", "steps", "seed") if hasattr(args, name)}
    if flags.get("steps", 0) is None:  # no limit
        flags["steps"] = defaults.steps
    return for_models, override(defaults, rest, flags=flags)


def report(args: argparse.Namespace, train: Callable[[], Progress]) -> int:
    """Run the training; say where the checkpoint is and what it reached, or how to go on after an interruption."""
    from ..training.loop import Interrupted

    try:
        progress = train()
    except Interrupted as stop:
        print(f"stopped by {stop}; the state is saved: repeat the command with --resume to continue", file=sys.stderr)
        return 128 + stop.number
    if int(os.environ.get("RANK", 0)):
        return 0  # the other processes have nothing to add
    print(json.dumps({"out": args.out, "step": progress.step, "held_out": progress.metrics}))
    return 0
