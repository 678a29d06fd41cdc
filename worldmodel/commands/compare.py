"""`worldmodel compare A B`: two evaluations side by side, and which differences are more than chance."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import cli

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 130  # of tables that no terminal limits
SURE = 0.05
NO_PAIRS = "Here nothing is paired, so a difference may be chance: only the table above can tell"


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    result = cli.Parser(
        prog=prog,
        description="Print two evaluations side by side. Where both keep values clip by clip, the difference comes\n"
        "with its 95% bootstrap interval and the p of a sign-flip permutation test. The clips must be the same.",
    )
    for name in ("first", "second"):
        result.add_argument(name, type=Path, metavar=name.upper(), help="a metrics.json, or the directory it is in")
    return result


def main(args: argparse.Namespace) -> None:
    """Load, check that they can be compared, print."""
    from rich.console import Console

    from ..evaluation.report import comparison
    from ..evaluation.report.tables import label, number

    first, second = comparison.load(args.first), comparison.load(args.second)
    comparison.check_comparable(first, second)
    paired = comparison.clip_by_clip(first, second)
    shared = comparison.shared(first, second)
    if not shared:
        raise ValueError(f"{args.first} and {args.second} share no number; ask both the same --only")
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    if not paired:
        console.print("No number has values clip by clip in both: whether a difference is chance is not known.")
    else:
        rows = [
            [
                label(path),
                number(pair.first),
                number(pair.second),
                f"{pair.difference:+.3g}",
                f"{pair.low:+.3g} to {pair.high:+.3g}",
                f"[bold]{pair.p:.2g}[/]" if pair.p < SURE else f"{pair.p:.2g}",
            ]
            for path, pair in paired.items()
        ]
        _print(console, f"Clip by clip (bold: p < {SURE})", ("A", "B", "B - A", "95%", "p"), rows)
    others = [
        [label(path), number(pair.first), number(pair.second), f"{pair.difference:+.3g}"]
        for path, pair in shared.items()
    ]
    _print(console, f"All numbers that both have. {NO_PAIRS}", ("A", "B", "B - A"), others)


def _print(console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)
