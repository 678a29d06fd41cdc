"""`worldmodel gallery`: the checkpoints that come with the package, one line each."""

from __future__ import annotations

import argparse

from ..checkpoints import gallery
from .cli import Parser


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    return Parser(prog=prog, description="List the checkpoints that `play` and `imagine` know by name.")


def main(args: argparse.Namespace) -> None:
    """Print each name and what it is."""
    width = max(map(len, gallery.names()), default=0)
    for name in gallery.names():
        print(f"{name:<{width}}  {gallery.describe(name)}")
