"""`worldmodel export`: a data set as files that other programs read."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import cli

FORMATS = ("mp4", "png", "lerobot", "minari")


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    result = cli.Parser(
        prog=prog,
        description="Write the episodes of a data set as files. mp4: a video and a .jsonl of steps for each (H.264: "
        "frames are nearly the same); png: a folder of pictures and its .jsonl for each (the same, bit for bit); "
        "lerobot, minari: a data set of LeRobot v3's or of Minari's (the same, bit for bit). `worldmodel import` reads "
        "them all.",
    )
    result.add_argument("data", type=Path, metavar="DATA", help="a data set")
    result.add_argument("--format", choices=FORMATS, default="mp4", help="what to write")
    result.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new directory")
    return result


def main(args: argparse.Namespace) -> None:
    """Export, and print where the files are."""
    from ..exchange import lerobot, minari
    from ..exchange.exporting import export_files
    from ..rollouts import EpisodeDataset

    dataset = EpisodeDataset(args.data)
    if args.format == "lerobot":
        lerobot.write(dataset, args.out)
    elif args.format == "minari":
        minari.write(dataset, args.out)
    else:
        export_files(dataset, args.out, pictures=args.format == "png")
    print(cli.plain(f"{args.out}: {len(dataset):,} episodes, {int(dataset.lengths.sum()):,} frames as {args.format}"))
