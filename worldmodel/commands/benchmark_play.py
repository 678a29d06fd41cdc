"""`worldmodel benchmark play`: a scripted client over the real WebSocket: frames/s, and how soon a key shows."""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .benchmark import Measurement

if TYPE_CHECKING:
    import numpy as np

    from ..play.client import Client

KEY_SECONDS = (0.15, 0.6)  # between two changes of the keys, drawn evenly
WARM_UP = 8  # frames
STOP_SECONDS = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the mode's own arguments."""
    parser.add_argument("--checkpoint", metavar="NAME|DIR", help="what to play; without it the maze")
    parser.add_argument("--from", dest="source", metavar="WHAT", help="where the game begins, as in imagine")
    parser.add_argument("--view", default="imagined", choices=["imagined", "both"], help="what is looked at")
    parser.add_argument("--frames", type=int, default=120, metavar="N", help="frames of a run")


def measure(args: argparse.Namespace) -> Measurement:
    """Return frames/s as the game's clock asks and as fast as possible, and the latency from a key to its picture.

    Raises:
        ValueError: if the number of frames is too small.
        RuntimeError: if the server does not start.
    """
    if args.frames < 10:
        raise ValueError(f"--frames must be at least 10, got {args.frames}")
    import numpy as np

    from ..play.client import Client

    speeds: dict[str, list[float]] = {"real time": [], "as fast as possible": []}
    latencies: dict[str, list[float]] = {name: [] for name in speeds}
    with _server(args) as link, Client(link) as client:
        game = client.wait_for("game")
        client.frame()
        client.send("show", view=args.view)
        client.frame()
        buttons = [button["name"] for button in game["buttons"]]
        for run in range(args.repeats):
            for name, pace in zip(speeds, ("real", "fast"), strict=True):
                rng = np.random.default_rng(run)
                speed, late = _play(client, buttons, pace=pace, frames=args.frames, rng=rng)
                speeds[name].append(speed)
                latencies[name] += late
    figures: dict[str, Any] = {
        "game": {"frames_per_second": game["frames_per_second"], "frame_size": game["frame_size"], "view": args.view},
        "key_to_picture_ms": {name: _quantiles(values) for name, values in latencies.items()},
    }
    return Measurement(speeds=speeds, figures=figures)


def _play(
    client: Client, buttons: list[str], *, pace: str, frames: int, rng: np.random.Generator
) -> tuple[float, list[float]]:
    """Press random buttons for a number of frames; return frames/s and the milliseconds from each change to its frame.

    The first frames are a warm-up.
    """
    client.send("pace", pace=pace)
    pressed: dict[int, float] = {}
    latencies: list[float] = []
    began, next_key = 0.0, time.perf_counter()
    count = -WARM_UP
    while count < frames:
        if time.perf_counter() >= next_key:
            names = rng.choice(buttons, size=min(2, len(buttons)), replace=False)
            pressed[client.press(*map(str, names))] = time.perf_counter()
            next_key += rng.uniform(*KEY_SECONDS)
        try:
            frame = client.frame(timeout=max(0.0, next_key - time.perf_counter()))
        except TimeoutError:
            continue
        count += 1
        began = frame.received if count == 0 else began
        seen = [number for number in pressed if number <= frame.header["keys"]]
        if seen and count > 0:  # of several changes in one frame the newest is what it shows
            latencies.append(1e3 * (frame.received - pressed[max(seen)]))
        for number in seen:
            del pressed[number]
    client.send("pace", pace="paused")
    return frames / (frame.received - began), latencies


def _quantiles(values: list[float]) -> dict[str, Any]:
    if len(values) < 2:
        return {"keys": len(values)}
    cuts = statistics.quantiles(values, n=20)
    return {"p50": statistics.median(values), "p95": cuts[-1], "keys": len(values)}


@contextmanager
def _server(args: argparse.Namespace) -> Iterator[str]:
    """Run `worldmodel play` in a process of its own and give its link."""
    words = ["--checkpoint", args.checkpoint] if args.checkpoint else []
    words += ["--from", args.source] if args.source else []
    command = [sys.executable, "-m", "worldmodel", "play", "--no-browser", "--port", "0", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        link = process.stdout.readline().strip()
        if not link.startswith("http://"):
            said = process.stderr.read().strip().splitlines()
            raise RuntimeError(said[-1] if said else "the server did not start")
        yield link
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
