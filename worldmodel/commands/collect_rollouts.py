"""`collect-rollouts`: record episodes from a game into a data set directory."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ..rollouts.config import CollectConfig
from . import cli, describe

if TYPE_CHECKING:
    from ..rollouts import Goal
    from ..rollouts.recording import Machines


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    default = CollectConfig()
    result = cli.Parser(
        prog=prog,
        description="Record episodes from a game. The same command again goes on where an earlier one was stopped, "
        "and one with more frames makes the data set longer.",
    )
    result.add_argument("--out", type=Path, required=True, metavar="DIR", help="the data set's directory")
    result.add_argument(
        "--env",
        default=default.env,
        metavar="ID",
        help='a ViZDoom or Gymnasium id, module:Id, path/to/file.py:Class, a ViZDoom scenario.cfg, or "toy"',
    )
    result.add_argument(
        "--env-set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="keyword arguments for the environment: continuous=False, frameskip=1 repeat_action_probability=0",
    )
    size = result.add_mutually_exclusive_group()
    size.add_argument("--frames", type=int, metavar="N", help="stop with the episode that reaches N frames (2000)")
    size.add_argument("--episodes", type=int, metavar="N", help="stop after N episodes")
    result.add_argument(
        "--policy",
        default=default.policy,
        metavar="NAME",
        help="who plays: explore, sticky, random, module:function, file.py:function, an agent.zip of Stable-Baselines3 "
        "(only your own: it runs code), or shares: explore=0.7,random=0.3",
    )
    result.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="games played at once (default: one a core, of the cluster's with --ray)",
    )
    result.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help='play on the machines of a Ray cluster: host:port, or "auto" on one of its machines; "local", or nothing, '
        "starts one here",
    )
    cli.add_settings(
        result,
        "frame_size=128; frame_skip=N, on top of what an id repeats by itself (4 in ViZDoom, 1 elsewhere); "
        "fit=squash, pad or crop; actions=noop,forward,left or actions=table.json; split=train or test, whose seeds to "
        "use; seed=N, the first one within the split; shard_index=I num_shards=N, only every N-th episode, from "
        "number I on, for worldmodel merge",
    )
    return result


def main(args: argparse.Namespace) -> None:
    """Record, with a progress bar; print what the data set then holds."""
    from ..rollouts import EpisodeDataset, Goal, measure

    frames = 2000 if args.frames is None and args.episodes is None else args.frames
    try:
        goal = Goal(frames=frames, episodes=args.episodes)
        arguments = cli.keywords(args.env_set, "--env-set")
        config = CollectConfig(env=args.env, arguments=arguments, policy=args.policy)
    except ValueError as error:
        raise cli.UsageError(str(error)) from error
    config = cli.override(config, args.set)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with _machines(args) as (machines, workers):
            _record(config, args.out, goal=goal, workers=workers, machines=machines)
    except (KeyboardInterrupt, SystemExit):
        print(f"stopped; finished episodes are safe in {args.out}, the same command goes on", file=sys.stderr)
        raise
    dataset = EpisodeDataset(args.out)
    print("\n".join(describe.dataset_lines(dataset, measure(dataset))))


@contextmanager
def _machines(args: argparse.Namespace) -> Iterator[tuple[Machines, int]]:
    """Yield where games are played, and how many at once."""
    from ..rollouts.recording import ThisMachine

    cores = os.cpu_count() or 1
    if args.ray is None:
        yield ThisMachine(), cores if args.workers is None else args.workers
        return
    from ..rollouts.ray_machines import ray_machines

    if args.workers is not None and args.workers < 1:
        raise cli.UsageError(f"workers must be at least 1, got {args.workers}")
    with ray_machines(args.ray, workers=args.workers or cores) as machines:
        yield machines, args.workers or machines.num_cores


def _record(config: CollectConfig, path: Path, *, goal: Goal, workers: int, machines: Machines) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..rollouts import EpisodeRecord, collect

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        unit = "frames" if goal.frames else "episodes"
        total = goal.frames or len(range(config.shard_index, goal.episodes or 0, config.num_shards))
        bar = progress.add_task("recording", total=total, state="starting")
        began, recorded = time.monotonic(), 0

        def show(record: EpisodeRecord, *, is_new: bool = True) -> None:
            nonlocal recorded
            recorded += record.frames * is_new
            speed = recorded / max(time.monotonic() - began, 1e-9)
            progress.advance(bar, record.frames if goal.frames else 1)
            done = progress.tasks[bar].completed
            progress.update(bar, state=f"{done:,.0f} of {progress.tasks[bar].total:,.0f} {unit}, {speed:,.0f} frames/s")

        def show_present(records: list[EpisodeRecord]) -> None:
            for record in records:
                show(record, is_new=False)

        collect(config, path, goal=goal, workers=workers, machines=machines, on_start=show_present, on_episode=show)


def _terminate(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)
