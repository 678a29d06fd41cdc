"""`imagine`: the future of a game under your actions, as videos."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import Parser, UsageError, add_settings, override, warn

if TYPE_CHECKING:
    from rich.progress import TaskID

    from ..simulator import Simulator

LINE_EVERY_SECONDS = 5.0
MAX_STEPS = 100_000  # three hours of a game
EPILOG = """
actions:  , separates videos   + presses together   / then   :N holds N steps   none = without actions
          the last action is held to the end, e.g. --action forward:5/forward+right:3/left,none
from:     DIR  DIR:EPISODE  DIR/episode-000000.parquet  video.mp4  env:VizdoomMyWayHome-v1
          with @FRAME behind any of them, the context begins with that frame, e.g. --from data:3@120
"""


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = Parser(
        prog=prog,
        description="Imagine the future of a few real frames under your actions.",
        epilog=EPILOG,
    )
    p.add_argument("--context", type=int, default=6, metavar="N", help="real frames to start from")
    p.add_argument("--steps", type=int, default=10, metavar="N", help="frames to imagine")
    p.add_argument("--action", metavar="SCRIPT", help="what to press, see below; without it forward,right, or two "
                   "actions of a game that has not these")  # fmt: skip
    p.add_argument("--from", dest="source", metavar="WHAT", help="where the context comes from, see below; "
                   "without it a held-out episode that comes with the package")  # fmt: skip
    p.add_argument("--checkpoint", metavar="NAME|DIR", help="a dynamics checkpoint, or the name of one that "
                   "`worldmodel gallery` lists; without it the maze")  # fmt: skip
    p.add_argument("--out", type=Path, default=Path("imagined"), metavar="DIR", help="where the videos go")
    p.add_argument("--truth", action="store_true", help="show the real game under the same actions beside it")
    p.add_argument("--no-map", action="store_true", help="imagine without the learned map that the checkpoint may have")
    p.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the sampling, and of the start where --from names none"
    )
    add_settings(
        p,
        "any other setting: temperature=1.0 "
        "(0 takes the likeliest codes), top_k=0 (sample among the likeliest K codes only; 0 = all)",
    )
    return p


def main(args: argparse.Namespace) -> None:
    """Imagine and draw; print where the videos are and how fast they came."""
    _check_numbers(args)
    from ..config import ImagineConfig

    config = override(ImagineConfig(seed=args.seed), args.set)
    from ..action_script import example
    from ..checkpoints import gallery
    from ..imagination.sources import Source
    from ..imagination.videos import imagine_videos
    from ..rollouts.lock import locked
    from ..runtime import choose_threads
    from ..simulator import Simulator

    checkpoint = gallery.resolve(args.checkpoint or gallery.DEFAULT)
    simulator = Simulator.from_pretrained(
        checkpoint, use_map=not args.no_map, temperature=config.temperature, top_k=config.top_k
    )
    script = example(simulator.action_names) if args.action is None else args.action
    _check_actions(args, script, simulator)
    source = args.source or own_source(args.checkpoint)
    warn(Source.parse(source).other_game(simulator))
    choose_threads(simulator.warm_up)
    with locked(args.out), _Progress() as progress:
        written = imagine_videos(
            simulator,
            script,
            source=source,
            num_context=args.context,
            num_steps=args.steps,
            out=args.out,
            seed=config.seed,
            truth=args.truth,
            about={"checkpoint": str(checkpoint), "learned_map": simulator.use_map},
            report=progress.report,
        )
    for path in (*written.videos, written.grid_video, written.contact_sheet, written.record):
        print(path)
    count = len(written.videos) * args.steps
    real_time = f"real time is {simulator.frames_per_second:g}"
    print(f"{count} frames imagined, {written.frames_per_second:.1f} frames/s ({real_time})")


def own_source(checkpoint: str | None) -> str:
    """Return where the context comes from by default: the episodes of a checkpoint of the gallery, else the maze's."""
    from ..checkpoints import gallery
    from ..imagination.videos import DEFAULT_SOURCE, EPISODES

    episodes = EPISODES if checkpoint is None else gallery.own_episodes(checkpoint)
    return DEFAULT_SOURCE if episodes == EPISODES else str(episodes)


def _check_numbers(args: argparse.Namespace) -> None:
    for name, value in (("--steps", args.steps), ("--context", args.context)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    if args.steps > MAX_STEPS:
        raise UsageError(f"--steps must be at most {MAX_STEPS}, got {args.steps}")


def _check_actions(args: argparse.Namespace, script: str, simulator: Simulator) -> None:
    """Say what is wrong with the command line as far as it depends on the model."""
    from ..action_script import parse

    if args.context > simulator.window:
        raise UsageError(f"--context must be at most {simulator.window}, the model's window, got {args.context}")
    try:
        scripts = parse(script, simulator.action_names)
        for each in scripts:
            each.expand(args.steps)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if args.truth and any(each.is_none for each in scripts):
        raise UsageError("--truth needs actions: the real game has no future without any ('none')")


class _Progress:
    """Shows on stderr how far a run is: a bar on a terminal, elsewhere a line now and then."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self._console = Console(stderr=True)
        self._bar = Progress(console=self._console, transient=True, disable=not self._console.is_terminal)
        self._tasks: dict[str, TaskID] = {}
        self._said = time.monotonic()

    def report(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=total)
        self._bar.update(self._tasks[stage], completed=done)
        if not self._console.is_terminal and time.monotonic() - self._said > LINE_EVERY_SECONDS:
            self._said = time.monotonic()
            print(f"{stage}: {done} of {total} frames", file=sys.stderr)

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
