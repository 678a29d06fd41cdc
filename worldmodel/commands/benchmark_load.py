"""`worldmodel benchmark load`: how fast random windows of a data set are read."""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from .benchmark import Measurement

if TYPE_CHECKING:
    from ..rollouts import EpisodeDataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the mode's own arguments."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a data set")
    parser.add_argument("--window", type=int, default=16, metavar="N", help="frames read at a time")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="readers")
    parser.add_argument("--windows", type=int, default=500, metavar="N", help="of a run")


def measure(args: argparse.Namespace) -> Measurement:
    """Return frames/s of every run; window starts are uniform over all frames.

    Raises:
        ValueError: if no episode is as long as the window, or a number is below 1.
    """
    import numpy as np

    from ..rollouts import EpisodeDataset

    if min(args.window, args.threads, args.windows) < 1:
        raise ValueError("window, threads and windows must be at least 1")
    dataset = EpisodeDataset(args.data)
    starts = np.maximum(dataset.lengths - args.window + 1, 0)
    if not starts.sum():
        raise ValueError(f"{args.data} has no episode of {args.window} frames")
    rng = np.random.default_rng(0)
    speeds = []
    for _ in range(args.repeats):
        episodes = rng.choice(len(dataset), size=args.windows, p=starts / starts.sum())
        windows = [(int(episode), int(rng.integers(starts[episode]))) for episode in episodes]
        speeds.append(_read(dataset, windows, length=args.window, threads=args.threads))
    return Measurement(speeds={"random windows": speeds})


def _read(dataset: EpisodeDataset, windows: list[tuple[int, int]], *, length: int, threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        count = sum(pool.map(lambda window: len(dataset.frames(window[0], window[1], window[1] + length)), windows))
        return count / (time.perf_counter() - began)
