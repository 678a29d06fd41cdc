"""`worldmodel merge`: join the shards of a data set that were recorded apart."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import cli


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    result = cli.Parser(
        prog=prog,
        description="Join shards, recorded by collect-rollouts --set shard_index=I num_shards=N, into the data set "
        "that one machine would have recorded. The same command again goes on where an earlier one was stopped.",
    )
    result.add_argument(
        "shards", type=Path, nargs="+", metavar="SHARD", help="the directory of a shard; all are needed"
    )
    result.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="the data set's directory; files are hard links if possible",
    )
    return result


def main(args: argparse.Namespace) -> None:
    """Join, with a progress bar; print what the data set holds."""
    from ..rollouts import EpisodeDataset, measure
    from . import describe

    _merge(args.shards, args.out)
    dataset = EpisodeDataset(args.out)
    print("\n".join(map(cli.plain, describe.dataset_lines(dataset, measure(dataset)))))


def _merge(shards: list[Path], out: Path) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from ..rollouts.merge import merge

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("joining", total=None)
        merge(
            shards,
            out,
            on_start=lambda episodes: progress.update(bar, total=episodes),
            on_episode=lambda record: progress.advance(bar),
        )
