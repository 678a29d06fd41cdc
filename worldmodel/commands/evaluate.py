"""`worldmodel evaluate`: held-out numbers of a checkpoint, with their baselines, as tables, JSON and a page."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import cli

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from ..config import EvaluationConfig
    from ..evaluation.harness.run import Evaluation, Kept, Listener
    from ..evaluation.harness.subject import Subject
    from ..evaluation.harness.tokenizer_alone import TokenizerSubject
    from ..evaluation.harness.workers import Workers

WIDTH = 130  # of tables that no terminal limits


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = cli.Parser(
        prog=prog,
        description="Measure a world model on held-out episodes, beside its baselines. A finished answer is kept in\n"
        "OUT/answers: an interrupted command goes on where it was, and a repeated one measures nothing twice.",
    )
    p.add_argument(
        "--checkpoint",
        metavar="NAME|DIR",
        help="a dynamics checkpoint, a tokenizer's alone, or a name of `worldmodel gallery` (default: the maze)",
    )
    p.add_argument("--data", metavar="DIR", help="held-out episodes (default: those that ship with it)")
    p.add_argument("--out", type=Path, default=Path("evaluated"), metavar="DIR", help="of the numbers and the page")
    p.add_argument("--only", metavar="QUESTION,...", help="ask only these questions, e.g. fidelity,control")
    p.add_argument("--clips", type=int, default=40, metavar="N", help="how many clips to draw at most")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of the clips and of the imagination")
    p.add_argument("--quick", action="store_true", help="a tenth of the work: to see that it works, not to compare")
    cli.add_settings(
        p,
        "any other setting: context=6 (real frames the model is given), temperature=1.0, processes=0 "
        "(questions asked at once, 0 means one a core, at most 4)",
    )
    return p


def main(args: argparse.Namespace) -> int:
    """Ask, print each answer, write metrics.json and report.html; exit code 1 if a question cannot be asked."""
    if args.clips < 2:
        raise cli.UsageError(f"--clips must be at least 2, got {args.clips}")
    from ..config import EvaluationConfig

    config = cli.override(EvaluationConfig(), args.set)
    from ..checkpoints import gallery
    from ..rollouts.lock import locked

    checkpoint = gallery.resolve(args.checkpoint or gallery.DEFAULT)
    questions = _questions(args.only, checkpoint)
    with locked(args.out):
        return _evaluate(args, config, checkpoint, questions)


def _evaluate(args: argparse.Namespace, config: EvaluationConfig, checkpoint: Path, questions: list[str]) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from ..evaluation.harness.run import evaluate
    from ..evaluation.report.page import render
    from ..rollouts.manifest import write_atomically

    make = partial(_subject, args, config, checkpoint)
    subject = make()
    _warn_of_another_game(subject)
    workers = _workers(make, subject, _processes(args, config))
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    # On a terminal one console draws both: two would write over each other.
    with Progress(console=console if console.is_terminal else Console(stderr=True)) as progress:
        listener = _listener(console, progress)
        found = evaluate(subject, checkpoint, args.out, questions=questions, listener=listener, workers=workers)
    write_atomically(args.out / "report.html", render(found, name=_name(args)).encode())
    _say_verdict(found)
    print(f"{args.out / 'metrics.json'}\n{args.out / 'report.html'}")
    return cli.FAILURE if found.metrics["failures"] else 0


def _questions(only: str | None, checkpoint: Path) -> list[str]:
    from ..evaluation.harness import tokenizer_alone
    from ..evaluation.harness.run import QUESTIONS

    alone = tokenizer_alone.kind(checkpoint)
    possible = tokenizer_alone.QUESTIONS if alone else tuple(QUESTIONS)
    questions = [name.strip() for name in only.split(",")] if only is not None else list(possible)
    for name in questions:
        if name not in QUESTIONS:
            known = ", ".join(QUESTIONS)
            raise cli.UsageError(f"no question named {name!r}{cli.suggest(name, QUESTIONS)}; questions: {known}")
        if name not in possible:
            asked = ", ".join(possible)
            raise cli.UsageError(f"{checkpoint} is a {alone} checkpoint without a dynamics: ask {asked}, not {name}")
    return questions


def _subject(args: argparse.Namespace, config: EvaluationConfig, checkpoint: Path) -> Subject | TokenizerSubject:
    from ..checkpoints import gallery
    from ..evaluation.harness import tokenizer_alone
    from ..evaluation.harness.subject import Subject, without_map
    from ..rollouts import EpisodeDataset
    from ..simulator import Simulator

    how: dict[str, Any] = {
        "num_clips": args.clips,
        "context": config.context,
        "seed": args.seed,
        "quick": args.quick,
        "cache": args.out / "answers",
    }
    data = args.data or gallery.own_episodes(checkpoint)
    if tokenizer_alone.kind(checkpoint):
        tokenizer = tokenizer_alone.load(checkpoint)
        return tokenizer_alone.TokenizerSubject(tokenizer=tokenizer, dataset=EpisodeDataset(data), **how)
    simulator = Simulator.from_pretrained(checkpoint, temperature=config.temperature)
    return Subject(simulator=simulator, without_map=without_map(simulator), dataset=EpisodeDataset(data), **how)


def _warn_of_another_game(subject: Subject | TokenizerSubject) -> None:
    from ..evaluation.harness.subject import Subject
    from ..imagination.sources import other_game

    if isinstance(subject, Subject):
        cli.warn(other_game(subject.dataset.path, subject.dataset.info.env, subject.simulator))


def _processes(args: argparse.Namespace, config: EvaluationConfig) -> int:
    """Return how many processes ask: those of a GPU would only wait for each other."""
    import torch

    from ..training.launch import choose_processes

    return config.processes or (1 if torch.cuda.is_available() else choose_processes(args.out, resume=False))


def _workers(
    make: Callable[[], Subject | TokenizerSubject], subject: Subject | TokenizerSubject, number: int
) -> Workers | None:
    """Return the processes that ask, None if it is this one alone; choose the threads of this one."""
    import torch

    from ..evaluation.harness.workers import Workers
    from ..runtime import choose_threads

    if number == 1:
        choose_threads(subject.warm_up)
        return None
    torch.set_num_threads(1)
    return Workers(make, number)


def _name(args: argparse.Namespace) -> str:
    return f"the checkpoint {args.checkpoint}" if args.checkpoint else "the shipped checkpoint"


def _listener(console: Console, progress: Progress) -> Listener:
    """Return what shows a bar for each question that is being asked, and its tables once it is answered."""
    from ..evaluation.harness.run import Listener

    tasks: dict[str, Any] = {}

    def on_progress(name: str, done: int, total: int) -> None:
        if name not in tasks:
            tasks[name] = progress.add_task(name)
        progress.update(tasks[name], completed=done, total=total)

    def on_answer(name: str, kept: Kept) -> None:
        if name in tasks:
            progress.remove_task(tasks.pop(name))
        _print(console, name, kept)

    def on_failure(name: str, error: ValueError) -> None:
        if name in tasks:
            progress.remove_task(tasks.pop(name))
        progress.console.print(f"[red]{name} could not be asked:[/] {cli.for_console(error)}", highlight=False)

    return Listener(on_progress=on_progress, on_answer=on_answer, on_failure=on_failure)


def _print(console: Console, name: str, kept: Kept) -> None:
    """Print an answer."""
    from rich.table import Table

    from ..evaluation.report.tables import cells

    console.print(f"\n[bold]{name}[/] ({kept.seconds:.0f} s)", highlight=False)
    for found in cells(kept.answer):
        if found.title:
            console.print(cli.for_console(found.title))
        table = Table(show_header=not found.bare)
        for number, column in enumerate(found.header):
            table.add_column(cli.for_console(column), justify="right" if number else "left")
        for row in found.rows:
            table.add_row(*map(cli.for_console, row))
        console.print(table)


def _say_verdict(found: Evaluation) -> None:
    """Say in red what speaks against the numbers."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for warning in found.metrics["warnings"]:
        console.print(f"[yellow]{cli.for_console(warning)}[/]")
    for row in found.metrics["broken_claims"]:
        console.print(f"[red]{row['question']}: it does not hold that {cli.for_console(row['text'])}[/]")
    seconds = sum(run["cpu_seconds"] for run in found.metrics["runs"].values())
    console.print(f"{seconds:.0f} seconds of a processor in all")
