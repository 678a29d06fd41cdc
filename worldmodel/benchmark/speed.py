"""How fast a simulator imagines: frames/s, where the time goes, and what the arithmetic would allow."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from ..dynamics.features import Features
from ..dynamics.samplers import NumpySampler
from ..imagination.sources import Context
from ..learned_map.map import LearnedMap
from ..runtime import autocast, choose_threads, use_bfloat16
from ..simulator import Simulator
from ..video.figure import Video, draw_grid_video
from ..video.mp4 import VideoWriter
from .roofline import Ceilings, count_flops, now, weight_bytes

T = TypeVar("T")

WARM_UP_STEPS = 3
WINDOW_REPEATS = 8
PARTS = ("context", "waves", "decode")
FORMULAS = {
    "gflop": "context: a frame at a full window; waves: one parallel pass of the decoder over all positions (sampling "
    "computes each position once, too, with fewer keys); decode: a frame; a multiplication with its addition is two",
    "weights_read_mb": "context and tokenizer decoder once a frame, code decoder once a wave (a cache may hold it)",
    "roofline_share": "FLOPs over the product ceiling or weights read over the memory ceiling, the longer, over time",
}


class Clock:
    """Collects the seconds that calls of a simulator's parts take."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.device = simulator.dynamics.device
        self.seconds: dict[str, list[float]] = {"context": [], "step": [], "decode": []}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time every observation, step and decoding of the simulator while this lasts."""
        methods = ("_observe", "step", "decode")
        for name, method in zip(self.seconds, methods, strict=True):
            setattr(self.simulator, method, self._timed(name, getattr(self.simulator, method)))
        try:
            yield
        finally:
            for method in methods:
                delattr(self.simulator, method)  # the class's own method is back

    def _timed(self, name: str, function: Callable[..., T]) -> Callable[..., T]:
        def timed(*args: Any, **kwargs: Any) -> T:
            began = now(self.device)
            result = function(*args, **kwargs)
            self.seconds[name].append(now(self.device) - began)
            return result

        return timed

    def parts(self) -> dict[str, float]:
        """Return the seconds of each of PARTS; waves are what a step does beside the context."""
        sums = {name: sum(values) for name, values in self.seconds.items()}
        return {"context": sums["context"], "waves": sums["step"] - sums["context"], "decode": sums["decode"]}

    def latencies(self) -> list[float]:
        """Return, for each step, the seconds from its call to the decoded frame."""
        return [step + decode for step, decode in zip(self.seconds["step"], self.seconds["decode"], strict=True)]


def imagine_codes(simulator: Simulator, context: Context, *, batch: int, steps: int) -> float:
    """Imagine `steps` frames of `batch` games in codes alone, as agents are trained; return the seconds it took.

    Each game has random numbers of its own. The number of threads is the one with which so many games are quickest.
    """
    threads = torch.get_num_threads()
    actions = np.random.default_rng(0).integers(len(simulator.action_names), size=(WARM_UP_STEPS + steps, batch))
    simulator.seed_rows(dict(enumerate(range(batch))), batch=batch)
    simulator.reset(np.stack([context.frames] * batch), np.stack([context.actions] * batch))
    for row in actions[:WARM_UP_STEPS]:
        simulator.step(row)
    choose_threads(lambda: simulator.step(actions[0]))
    began = now(simulator.dynamics.device)
    for row in actions[WARM_UP_STEPS:]:
        simulator.step(row)
    seconds = now(simulator.dynamics.device) - began
    torch.set_num_threads(threads)
    return seconds


def imagine_steps(simulator: Simulator, context: Context, *, batch: int, steps: int) -> tuple[Clock, np.ndarray]:
    """Imagine and decode `steps` frames of `batch` videos, frame by frame, as a player would see them.

    Returns the clock of all steps after a few that warm up, and the frames uint8 (steps H W 3) of the first video.
    """
    rng = np.random.default_rng(0)
    actions = rng.integers(len(simulator.action_names), size=(WARM_UP_STEPS + steps, batch))
    simulator.seed(0)
    simulator.reset(np.stack([context.frames] * batch), np.stack([context.actions] * batch))
    for row in actions[:WARM_UP_STEPS]:
        simulator.decode(simulator.step(row).unsqueeze(1))
    clock = Clock(simulator)
    with clock.running():
        frames = [simulator.decode(simulator.step(row).unsqueeze(1))[0, 0] for row in actions[WARM_UP_STEPS:]]
    return clock, np.stack(frames)


def video_seconds(frames: np.ndarray, *, frames_per_second: float) -> float:
    """Return the seconds that drawing frames uint8 (t H W 3) as a video and writing its MP4 takes."""
    clip = Video(label="", frames=frames, num_context=0, kind="imagined")
    with tempfile.TemporaryDirectory(prefix="worldmodel-benchmark-") as scratch:
        began = time.perf_counter()
        with VideoWriter(Path(scratch) / "video.mp4", frames_per_second=frames_per_second) as writer:
            for frame in draw_grid_video([[clip]], frames_per_second=frames_per_second):
                writer.write(frame)
        return time.perf_counter() - began


def horizon_growth(simulator: Simulator, context: Context, *, steps: int) -> float:
    """Return the median time of a frame in the last quarter of a run over that in the first: 1 if memory is bounded."""
    latencies = imagine_steps(simulator, context, batch=1, steps=steps)[0].latencies()
    quarter = max(1, steps // 4)
    return statistics.median(latencies[-quarter:]) / statistics.median(latencies[:quarter])


def window_growth(simulator: Simulator, context: Context) -> float:
    """Return the time of the context transformer with a full window over that with a single frame."""
    medians = []
    for length in (len(context.frames), 1):
        frames, actions = context.frames[None, -length:], context.actions[None, len(context.actions) + 1 - length :]
        seconds = []
        for _ in range(WINDOW_REPEATS):
            simulator.reset(frames, actions)
            clock = Clock(simulator)
            with clock.running():
                simulator.step(np.zeros(1, np.int64))
            seconds += clock.seconds["context"]
        medians.append(statistics.median(seconds))
    return medians[0] / medians[1]


def compute_dtypes(simulator: Simulator) -> dict[str, torch.dtype]:
    """Return the dtype of the matrix products of each of PARTS."""
    dtype = torch.bfloat16 if use_bfloat16(simulator.precision, simulator.dynamics.device) else torch.float32
    waves = torch.float32 if isinstance(simulator.sampler, NumpySampler) else dtype
    return {"context": dtype, "waves": waves, "decode": dtype}


@torch.inference_mode()
def frame_flops(simulator: Simulator) -> dict[str, int]:
    """Return the FLOPs of each of PARTS for one frame of one video, as FORMULAS says."""
    dynamics = simulator.dynamics
    grid = dynamics.config.code_grid
    codes = torch.zeros(1, grid, grid, dtype=torch.int64, device=dynamics.device)
    action = codes[:, 0, 0]
    cache, learned_map = dynamics.new_cache(), simulator.learned_map if simulator.use_map else None

    def observe(state: Any) -> tuple[Features, Any]:
        expectation, state = (None, None) if learned_map is None else learned_map.step(state, action)
        return dynamics.observe(codes, action, cache, expectation), state

    with autocast(dynamics.device, precision=simulator.precision):
        state = None if learned_map is None else learned_map.begin(codes[:, None], codes[:, 0, :0])[1]
        for _ in range(simulator.window - 1):
            _, state = observe(state)
        features: list[Features] = []
        context = count_flops(lambda: features.append(observe(state)[0]))
        waves = count_flops(lambda: dynamics.logits(features[0][:, None], codes.unsqueeze(1)))
    decode = count_flops(lambda: simulator.decode(codes.unsqueeze(1)))
    return {"context": context, "waves": waves, "decode": decode}


def weights_read(simulator: Simulator) -> dict[str, int]:
    """Return the bytes of weights that each of PARTS reads for one frame, as FORMULAS says."""
    dtypes, dynamics = compute_dtypes(simulator), simulator.dynamics
    training_only = weight_bytes(dynamics.decoder.head.auxiliary, dtypes["waves"])
    # Of a learned map its colour networks count; of its grids only a few points are read.
    learned_map = simulator.learned_map if simulator.use_map else None
    colours = (learned_map.field.wall, learned_map.field.plane) if isinstance(learned_map, LearnedMap) else ()
    expected = sum(weight_bytes(network, dtypes["context"]) for network in colours)
    return {
        "context": weight_bytes(dynamics.context, dtypes["context"]) + expected,
        "waves": (weight_bytes(dynamics.decoder, dtypes["waves"]) - training_only) * dynamics.order.num_waves,
        "decode": weight_bytes(simulator.tokenizer.decoder, dtypes["decode"]),
    }


def roofline(simulator: Simulator, seconds: dict[str, float], ceilings: Ceilings) -> dict[str, dict[str, float]]:
    """Return what a frame asks, what is reached and the share of the roofline, for each of PARTS and together.

    Args:
        seconds: of each of PARTS, for one frame of one video.
        ceilings: of this machine, measured with the same threads.
    """
    dtypes = compute_dtypes(simulator)
    flops, read = frame_flops(simulator), weights_read(simulator)
    least = {part: max(flops[part] / ceilings.products(dtypes[part]), read[part] / ceilings.memory) for part in PARTS}
    asked, reads, time, bound = _with_sum(flops), _with_sum(read), _with_sum(seconds), _with_sum(least)
    return {
        "gflop": {part: value / 1e9 for part, value in asked.items()},
        "weights_read_mb": {part: value / 1e6 for part, value in reads.items()},
        "gflop_per_second": {part: value / time[part] / 1e9 for part, value in asked.items()},
        "roofline_share": {part: value / time[part] for part, value in bound.items()},
    }


def _with_sum(parts: Mapping[str, float]) -> dict[str, float]:
    return {**parts, "frame": sum(parts.values())}
