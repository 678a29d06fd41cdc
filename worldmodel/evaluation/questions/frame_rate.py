"""How fast does it imagine, decoding included, and where does the time go?"""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ...benchmark import speed
from ...benchmark.roofline import Ceilings
from ...imagination.sources import Context
from ...runtime import choose_threads
from ...types import Report
from ..answers import Answer, Figure, Scalar, Table
from ..harness.clips import draw_clips
from ..harness.subject import Subject

BATCHES = (1, 4)
STEPS, REPEATS = 40, 5
QUICK_STEPS, QUICK_REPEATS = 12, 2


def measure(subject: Subject, report: Report) -> Answer:
    """Return frames/s for each of BATCHES, all videos counted, and of one video the latency and the shares of a frame.

    The batches take turns, so that what else the machine does meets each of them; a figure is the median of the runs.
    It has as many threads as are quickest here and now.
    """
    choose_threads(subject.simulator.warm_up)
    simulator, context = subject.simulator, _context(subject)
    steps, repeats = (QUICK_STEPS, QUICK_REPEATS) if subject.quick else (STEPS, REPEATS)
    clocks: dict[int, list[speed.Clock]] = {batch: [] for batch in BATCHES}
    for repeat in range(repeats):
        for batch in BATCHES:
            clocks[batch].append(speed.imagine_steps(simulator, context, batch=batch, steps=steps)[0])
        report(repeat + 1, repeats + 1)
    seconds = {part: statistics.median(clock.parts()[part] / steps for clock in clocks[1]) for part in speed.PARTS}
    latencies = [1e3 * latency for clock in clocks[1] for latency in clock.latencies()]
    reached = speed.roofline(simulator, seconds, Ceilings.measure(simulator.dynamics.device))["roofline_share"]
    report(repeats + 1, repeats + 1)
    rates = {f"batch_{batch}": _spread(clocks[batch], batch * steps) for batch in BATCHES}
    shares = {part: (1e3 * seconds[part], seconds[part] / sum(seconds.values()), reached[part]) for part in speed.PARTS}
    figures: dict[str, Figure] = {
        "real_time": simulator.frames_per_second,
        "latency_ms/median": float(np.median(latencies)),
        "latency_ms/p95": float(np.percentile(latencies, 95)),
        "threads": torch.get_num_threads(),
        "engine": type(simulator.sampler).__name__.removesuffix("Sampler").lower(),
        "waves": simulator.dynamics.order.num_waves,
        "load_average": round(os.getloadavg()[0], 2),
    }
    return Answer(
        scalars={name: Scalar(value) for name, value in figures.items()},
        tables={
            "frames_per_second": Table("frames/s", ("median", "slowest", "fastest"), _cells(rates)),
            "parts": Table("one frame of one video", ("milliseconds", "share", "roofline_share"), _cells(shares)),
        },
    )


def _cells(rows: Mapping[str, Sequence[float]]) -> dict[str, tuple[Scalar, ...]]:
    return {row: tuple(map(Scalar, values)) for row, values in rows.items()}


def _context(subject: Subject) -> Context:
    """Return a full window of real frames."""
    clip = draw_clips(subject.dataset, frames=subject.simulator.window, number=1, seed=subject.seed)
    return Context(frames=clip.frames[0], actions=clip.actions[0], description={})


def _spread(clocks: list[speed.Clock], frames: int) -> tuple[float, float, float]:
    """Return the median, the slowest and the fastest rate."""
    speeds = [frames / sum(clock.parts().values()) for clock in clocks]
    return statistics.median(speeds), min(speeds), max(speeds)
