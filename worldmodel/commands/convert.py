"""`worldmodel convert`: a checkpoint in the present layout, with smaller weights if asked."""

from __future__ import annotations

import argparse
from pathlib import Path

from .cli import Parser, plain

EPILOG = """
The shipped maze:  worldmodel convert IN OUT --half context.,decoder.,learned_map.recognition,learned_map.field
"""


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = Parser(
        prog=prog,
        description="Write a dynamics checkpoint of any earlier layout in the present one, a file for each module.",
        epilog=EPILOG,
    )
    p.add_argument("source", type=Path, metavar="IN", help="a dynamics checkpoint, or a name of the gallery")
    p.add_argument("out", type=Path, metavar="OUT", help="where the new one goes")
    p.add_argument(
        "--half",
        default="",
        metavar="NAMES",
        help="store matrices whose names begin with one of these, separated by commas, in half precision",
    )
    p.add_argument("--int8", default="", metavar="NAMES", help="the same in eight bits, with one scale a row")
    return p


def main(args: argparse.Namespace) -> None:
    """Convert, and print what came out."""
    from ..checkpoints import gallery
    from ..checkpoints.convert import convert
    from ..rollouts.lock import locked

    with locked(args.out):
        half, int8 = ([name for name in names.split(",") if name] for names in (args.half, args.int8))
        convert(gallery.resolve(args.source), args.out, half=half, int8=int8)
    files = sorted(file for file in args.out.rglob("*.safetensors"))
    for file in files:
        print(f"{file.stat().st_size / 2**20:8.2f} MiB  {plain(file.relative_to(args.out))}")
    print(f"{sum(file.stat().st_size for file in files) / 2**20:8.2f} MiB  {plain(args.out)}")
