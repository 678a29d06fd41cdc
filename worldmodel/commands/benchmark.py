"""`worldmodel benchmark MODE`: measure speed. Each mode is a module `benchmark_MODE` of two functions."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

from . import cli

# Mode -> one line of help. Its module has `add_arguments(parser)` and `measure(args) -> {what: [frames/s, ...]}`; the
# first entry of that is the mode's own figure, the others are what it is compared with.
MODES = {
    "collect": "recording a data set, against the bare engine",
    "load": "reading random windows of a data set",
}


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    result = cli.Parser(prog=prog, description="Measure speed in frames/s: the median of repeated runs.")
    modes = result.add_subparsers(dest="mode", required=True, metavar="MODE", parser_class=cli.Parser)
    for mode, summary in MODES.items():
        child = modes.add_parser(mode, help=summary, description=f"Measure the speed of {summary}.")
        _module(mode).add_arguments(child)
        child.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of each kind, taken in turn")
        child.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file, too")
    return result


def main(args: argparse.Namespace) -> None:
    """Measure, print a table, write the figures."""
    if args.repeats < 1:
        raise cli.UsageError(f"--repeats must be at least 1, got {args.repeats}")
    speeds = _module(args.mode).measure(args)
    result = summarise(args.mode, speeds)
    for name, figures in result["parts"].items():
        low, high = figures["spread"]
        print(
            f"{name:<24}{figures['frames_per_second']:>10,.0f} frames/s  ({low:,.0f} to {high:,.0f})  {_share(figures)}"
        )
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def summarise(mode: str, speeds: dict[str, list[float]]) -> dict[str, Any]:
    """Return the medians and spreads of `speeds`, frames/s of every run, and on what machine they were measured."""
    own = statistics.median(next(iter(speeds.values())))
    parts = {
        name: {
            "frames_per_second": statistics.median(values),
            "spread": [min(values), max(values)],
            "own_share": own / statistics.median(values),
        }
        for name, values in speeds.items()
    }
    first = next(iter(parts.values()))
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    return {
        "mode": mode,
        "frames_per_second": first["frames_per_second"],
        "spread": first["spread"],
        "parts": parts,
        "machine": machine,
        "load_average": os.getloadavg()[0],
    }


def _share(figures: dict[str, Any]) -> str:
    share = figures["own_share"]
    return "" if share == 1 else f"reached to {share:.0%}"


def _module(mode: str) -> Any:
    return importlib.import_module(f".benchmark_{mode}", __package__)
