"""`worldmodel benchmark MODE`: measure speed. Each mode is a module `benchmark_MODE` of two functions."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import cli

# Mode -> one line of help. Its module has `add_arguments(parser)` and `measure(args) -> Measurement`.
MODES = {
    "imagine": "imagining with a checkpoint: where the time goes, latency, start-up, and the machine's ceilings",
    "train": "training steps on random clips: where the time goes, and the machine's ceilings",
    "collect": "recording a data set, against the bare engine",
    "play": "playing in the page, by a scripted client over its WebSocket: frames/s, and how soon a key shows",
    "load": "reading random windows of a data set",
}


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a mode measured.

    Attributes:
        speeds: what was run -> frames/s of every run; the first entry is the mode's own figure.
        figures: what else was measured: the name of a section -> the names of its figures, with their units -> values.
        notes: what a section means where its name does not say it.
        compares: whether the other speeds are ceilings of the first one.
    """

    speeds: Mapping[str, list[float]]
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    compares: bool = False


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
    result = summarise(args.mode, _module(args.mode).measure(args))
    for name, part in result["parts"].items():
        low, high = part["spread"]
        speed = f"{_text(part['frames_per_second']):>10} frames/s  ({_text(low)} to {_text(high)})"
        print(f"{name:<24}{speed}  {_share(part)}")
    for name, values in result["figures"].items():
        print(f"{name.replace('_', ' '):<24}{_line(values)}")
    for name, note in result["notes"].items():
        print(f"{name.replace('_', ' ')}: {note}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def summarise(mode: str, measured: Measurement) -> dict[str, Any]:
    """Return the medians and spreads of the measured speeds, the other figures, and on what machine they were taken."""
    own = statistics.median(next(iter(measured.speeds.values())))
    parts = {
        name: {"frames_per_second": statistics.median(values), "spread": [min(values), max(values)]}
        | ({"own_share": own / statistics.median(values)} if measured.compares else {})
        for name, values in measured.speeds.items()
    }
    first = next(iter(parts.values()))
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    return {
        "mode": mode,
        "frames_per_second": first["frames_per_second"],
        "spread": first["spread"],
        "parts": parts,
        "figures": dict(measured.figures),
        "notes": dict(measured.notes),
        "machine": machine,
        "load_average": os.getloadavg()[0],
    }


def _share(part: Mapping[str, Any]) -> str:
    share = part.get("own_share", 1)
    return "" if share == 1 else f"reached to {share:.0%}"


def _line(values: Mapping[str, Any]) -> str:
    return "  ".join(f"{name.replace('_', ' ')} {_text(value)}" for name, value in values.items())


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    if isinstance(value, list):
        return " to ".join(_text(part) for part in value)
    return f"({_line(value)})" if isinstance(value, dict) else str(value)


def _module(mode: str) -> Any:
    return importlib.import_module(f".benchmark_{mode}", __package__)
