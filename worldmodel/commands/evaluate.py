"""`worldmodel evaluate`: held-out numbers of a checkpoint, with their baselines."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli import Parser, UsageError

if TYPE_CHECKING:
    from ..simulator import Simulator


def parser(prog: str) -> argparse.ArgumentParser:
    p = Parser(prog=prog, description="Measure a world model on held-out episodes, beside its baselines.")
    p.add_argument("--data", metavar="DIR", help="held-out episodes (default: the ones that ship with the package)")
    p.add_argument("--checkpoint", metavar="DIR", help="a dynamics checkpoint (default: the one that ships)")
    p.add_argument("--out", metavar="FILE", help="also write the numbers to this JSON file")
    p.add_argument("--clips", type=int, default=128, help="how many clips to draw")
    p.add_argument("--context", type=int, default=6, help="real frames the model is given")
    p.add_argument("--steps", type=int, default=10, help="frames to imagine")
    p.add_argument("--temperature", type=float, default=1.0, help="of sampling")
    p.add_argument("--seed", type=int, default=0, help="of the clips and of the imagination")
    return p


def main(args: argparse.Namespace) -> None:
    from ..rollouts import EpisodeDataset
    from ..simulator import PRETRAINED, Simulator

    for name in ("clips", "context", "steps"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name} must be at least 1, got {getattr(args, name)}")
    checkpoint = Path(args.checkpoint or PRETRAINED)
    dataset = EpisodeDataset(args.data or PRETRAINED.parent / "episodes")
    simulator = Simulator.from_pretrained(checkpoint, temperature=args.temperature)
    numbers = _measure(simulator, dataset, args) | {
        "checkpoint": {"tokenizer": simulator.tokenizer.fingerprint(), "order": simulator.dynamics.config.order},
        "data": {"fingerprint": dataset.fingerprint, "split": dataset.info.split},
        "settings": {name: getattr(args, name) for name in ("clips", "context", "steps", "temperature", "seed")},
    }
    _print(numbers)
    if args.out:
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        Path(args.out).write_text(json.dumps(numbers, indent=2) + "\n")


def _measure(simulator: Simulator, dataset: Any, args: argparse.Namespace) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import Progress

    from ..evaluation.clips import draw_clips
    from ..evaluation.fidelity import evaluate_fidelity
    from ..evaluation.tokenizer import evaluate_tokenizer

    clips = draw_clips(dataset, frames=args.context + args.steps, number=args.clips, seed=args.seed)
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("imagining", total=args.clips)
        fidelity = evaluate_fidelity(
            simulator,
            clips,
            context=args.context,
            seed=args.seed,
            on_clips=lambda number: bar.advance(task, number),
        )
    return {"tokenizer": evaluate_tokenizer(simulator, clips), "fidelity": fidelity}


def _print(numbers: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    tokenizer, fidelity = numbers["tokenizer"], numbers["fidelity"]
    console = Console()
    if not console.is_terminal:
        console.width = 120
    console.print(
        f"tokenizer: {tokenizer['psnr']:.2f} dB, {tokenizer['psnr_moving']:.2f} dB on moving clips, "
        f"{tokenizer['codes_used']} codes used, perplexity {tokenizer['perplexity']:.0f}",
        highlight=False,
    )
    for name, title in (("psnr", "all clips"), ("psnr_moving", "moving clips")):
        table = Table(title=f"PSNR in dB by imagined step, {title}", title_justify="left")
        rows = fidelity[name]
        steps = range(len(rows["model"]))
        table.add_column("step", no_wrap=True)
        for step in steps:
            table.add_column(str(step + 1), justify="right")
        for row, values in rows.items():
            table.add_row(row.replace("_", " "), *(f"{values[step]:.1f}" for step in steps))
        console.print(table)
