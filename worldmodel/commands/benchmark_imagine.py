"""`worldmodel benchmark imagine`: frames/s of a checkpoint, where its time goes, latency, growth and start-up."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .benchmark import Measurement
from .imagine import own_source

if TYPE_CHECKING:
    from ..benchmark.speed import Clock
    from ..imagination.sources import Context
    from ..simulator import Simulator

LONG = 4  # a long run has so many times the steps of the others
POLL_SECONDS = 0.005


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the mode's own arguments."""
    parser.add_argument(
        "--checkpoint", metavar="WHAT", help="a dynamics checkpoint, or a name of the gallery; without it the maze"
    )
    parser.add_argument("--from", dest="source", metavar="WHAT", help="where the context comes from, as in imagine")
    parser.add_argument("--engine", default="auto", help="what draws the codes: auto, numpy or torch")
    parser.add_argument("--steps", type=int, default=40, metavar="N", help="frames of a run")
    parser.add_argument(
        "--batch", type=_counts, default=[1, 4], metavar="N,N", help="videos or games at once, beside one video"
    )
    parser.add_argument(
        "--observation",
        choices=("frames", "codes"),
        default="frames",
        help="what is made of several videos at once: codes alone is what agents are trained on",
    )
    parser.add_argument(
        "--starts", type=int, default=3, metavar="N", help="fresh processes whose start-up is timed; 0 leaves it out"
    )


def _counts(text: str) -> list[int]:
    counts = [int(part) for part in text.split(",")]
    if min(counts) < 1:
        raise ValueError(text)
    return counts


def measure(args: argparse.Namespace) -> Measurement:
    """Return the frames/s of each batch, decoding included, and all that explains the single video's.

    Raises:
        ValueError: if a number is too small, or the checkpoint or the context cannot be read.
    """
    if args.steps < 4 or args.starts < 0:
        raise ValueError(f"--steps must be at least 4 and --starts 0 or more, got {args.steps} and {args.starts}")
    import torch

    from ..benchmark import speed
    from ..benchmark.roofline import Ceilings
    from ..checkpoints import gallery
    from ..imagination.sources import Source, load_context
    from ..runtime import choose_threads
    from ..simulator import Simulator

    checkpoint = gallery.resolve(args.checkpoint or gallery.DEFAULT)
    simulator = Simulator.from_pretrained(checkpoint, engine=args.engine)
    source = Source.parse(args.source or own_source(args.checkpoint))
    context = load_context(source, simulator, num_frames=simulator.window, horizon=0, seed=0)
    choose_threads(simulator.warm_up)
    speeds, clocks, video = _runs(simulator, context, args)
    milliseconds = {part: statistics.median(clock.parts()[part] for clock in clocks) for part in speed.PARTS}
    milliseconds = {part: 1e3 * seconds / args.steps for part, seconds in milliseconds.items()} | {"video": video}
    ceilings = Ceilings.measure(simulator.dynamics.device)
    seconds = {part: milliseconds[part] / 1e3 for part in speed.PARTS}
    settings = {
        "checkpoint": str(checkpoint),
        "device": str(simulator.dynamics.device),
        "dtype": {part: str(dtype).removeprefix("torch.") for part, dtype in speed.compute_dtypes(simulator).items()},
        "threads": torch.get_num_threads(),
        "engine": type(simulator.sampler).__name__.removesuffix("Sampler").lower(),
        "order": simulator.dynamics.config.order,
        "waves": simulator.dynamics.order.num_waves,
        "steps": args.steps,
    }
    figures = {
        "settings": settings,
        "milliseconds": milliseconds,
        "shares": {part: value / sum(milliseconds.values()) for part, value in milliseconds.items()},
        "latency_ms": _latency(clocks),
        "growth": {
            "horizon": speed.horizon_growth(simulator, context, steps=LONG * args.steps),
            "window": speed.window_growth(simulator, context),
        },
        "ceilings": {
            "bfloat16_gflop_per_second": ceilings.bfloat16 / 1e9,
            "float32_gflop_per_second": ceilings.float32 / 1e9,
            "memory_gb_per_second": ceilings.memory / 1e9,
        },
        **speed.roofline(simulator, seconds, ceilings),
        **({"start_up_s": _start_up(args)} if args.starts else {}),
    }
    return Measurement(speeds=speeds, figures=figures, notes=speed.FORMULAS)


def _runs(
    simulator: Simulator, context: Context, args: argparse.Namespace
) -> tuple[dict[str, list[float]], list[Clock], float]:
    """Return frames/s of every run of every batch, the clocks of the single video's, and its video's ms a frame."""
    from ..benchmark.speed import imagine_codes, imagine_steps, video_seconds
    from ..environment.imagined_games import batch_engine
    from ..runtime import keep_freed_memory
    from ..simulator import Simulator

    games = None
    if args.observation == "codes":
        keep_freed_memory()  # as games for agents do
        engine = batch_engine() if args.engine == "auto" else args.engine
        games = Simulator(simulator.tokenizer, simulator.dynamics, engine=engine)
    speeds: dict[str, list[float]] = {}
    clocks: list[Clock] = []
    video: list[float] = []
    for _ in range(args.repeats):
        clock, frames = imagine_steps(simulator, context, batch=1, steps=args.steps)
        speeds.setdefault("batch 1", []).append(args.steps / sum(clock.parts().values()))
        clocks.append(clock)
        video.append(video_seconds(frames, frames_per_second=simulator.frames_per_second))
        for batch in dict.fromkeys(args.batch):
            if games is not None:
                seconds = imagine_codes(games, context, batch=batch, steps=args.steps)
                speeds.setdefault(f"batch {batch} in codes", []).append(batch * args.steps / seconds)
            elif batch > 1:
                clock, _ = imagine_steps(simulator, context, batch=batch, steps=args.steps)
                speeds.setdefault(f"batch {batch}", []).append(batch * args.steps / sum(clock.parts().values()))
    return speeds, clocks, 1e3 * statistics.median(video) / args.steps


def _latency(clocks: list[Clock]) -> dict[str, float]:
    """Return the milliseconds from calling `step` to the decoded frame."""
    latencies = [1e3 * latency for clock in clocks for latency in clock.latencies()]
    return {"median": statistics.median(latencies), "p95": statistics.quantiles(latencies, n=20)[-1]}


def _start_up(args: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds from starting a process to what users wait for: the median of a few, and their spread."""
    words = ["--checkpoint", args.checkpoint] if args.checkpoint else []
    words += ["--from", args.source] if args.source else []
    times: dict[str, list[float]] = {"help": [], "first_mp4": [], "command": []}
    for _ in range(args.starts):
        with tempfile.TemporaryDirectory(prefix="worldmodel-benchmark-") as scratch:
            times["help"].append(_start(["--help"], Path(scratch))[1])
            first, whole = _start(["--out", scratch, *words], Path(scratch))
            times["first_mp4"].append(first)
            times["command"].append(whole)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return medians | {f"{name}_spread": [min(values), max(values)] for name, values in times.items()}


def _start(words: list[str], out: Path) -> tuple[float, float]:
    """Run `imagine` in a fresh process; return the seconds to the first finished MP4 in `out` and to its end."""
    command = [sys.executable, "-m", "worldmodel", "imagine", *words]
    first = None
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None:
            if first is None and any(not path.name.endswith(".partial.mp4") for path in out.glob("*.mp4")):
                first = time.perf_counter() - began
            time.sleep(POLL_SECONDS)
        whole = time.perf_counter() - began
        said.seek(0)
        last = said.read().strip().rpartition("\n")[2]
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with code {process.returncode}: {last}")
    return first or whole, whole
