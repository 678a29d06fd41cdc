"""Does the imagined world stay a world, hundreds of frames on?

Long videos are imagined under recorded actions. By horizon: how likely the model holds its own codes, beside real ones;
how far the codes' frequencies are from real ones; and whether sharpness and the change from frame to frame stay where
they are in the reconstructions of real frames. A frame alone can be plausible where the video is not: the change tells
of jumps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...dynamics.features import Features
from ...rollouts import EpisodeDataset
from ...simulator import Simulator
from ...types import FrameCodes, Report
from ..harness.clips import Clips
from ..harness.subject import Subject
from ..metrics.images import change, gradient_energy
from ..metrics.intervals import bootstrap, rounded
from ..metrics.scoring import frame_nats, past_features, recording
from .full_circle import full_circle

BLOCK = 30  # frames that are summed up in one number
REAL_CLIPS = 4  # real clips of a block's length for each imagined video: twice two groups as large as the videos
SPLITS = 20
RANGE = (0.05, 0.95)


@dataclass(frozen=True)
class Course:
    """So many videos of so many frames, of which one in `scored_every` is scored."""

    videos: int
    frames: int
    scored_every: int


COURSES = (Course(8, 300, 3), Course(1, 3000, 10))
QUICK = (Course(4, 60, 3), Course(1, 120, 10))
CIRCLES, QUICK_CIRCLES = 16, 4


@dataclass(frozen=True)
class Trace:
    """What is left of videos: nats a code (b m) of scored frames, counts of codes (b blocks k), and looks (b n)."""

    nats: np.ndarray
    counts: np.ndarray
    change: np.ndarray
    sharpness: np.ndarray


def measure(subject: Subject, report: Report) -> dict[str, Any]:
    """Return the numbers by horizon for each length, and what becomes of the view after a full circle."""
    courses = QUICK if subject.quick else COURSES
    circles = QUICK_CIRCLES if subject.quick else CIRCLES
    rng = np.random.default_rng(subject.seed)
    real_clips = REAL_CLIPS * courses[0].videos
    total, done = real_clips * BLOCK + sum(c.videos * c.frames for c in courses) + circles * BLOCK, 0
    real = trace_real(subject, number=real_clips, scored=courses[0].videos)
    done += real_clips * BLOCK
    report(done, total)
    out: dict[str, Any] = {"block": BLOCK, "horizons": {}}
    for course in courses:
        clips = subject.clips(1, number=course.videos)
        future = recorded_actions(subject.dataset, rng, videos=course.videos, frames=course.frames)
        imagined = trace_imagined(
            subject.simulator,
            clips,
            future,
            context=subject.context,
            scored_every=course.scored_every,
            seed=subject.seed,
            report=partial(_go_on, report, done, total),
        )
        out["horizons"][str(course.frames)] = by_horizon(imagined, real, rng)
        done += course.videos * course.frames
    out["full_circle"] = full_circle(subject, number=circles)
    report(total, total)
    return out | {"sanity": _sanity(out, real, rng)}


def _go_on(report: Report, before: int, total: int, done: int) -> None:
    report(before + done, total)


def recorded_actions(dataset: EpisodeDataset, rng: np.random.Generator, *, videos: int, frames: int) -> np.ndarray:
    """Return actions int64 (b n): recorded ones, from a random step of an episode to its end, and so on with others."""
    recorded = [dataset.actions(index) for index in range(len(dataset))]
    lengths = np.array([len(actions) for actions in recorded])
    rows = []
    for _ in range(videos):
        row = np.zeros(0, np.int64)
        while len(row) < frames:
            actions = recorded[rng.choice(len(recorded), p=lengths / lengths.sum())]
            row = np.concatenate([row, actions[rng.integers(len(actions)) :]])
        rows.append(row[:frames])
    return np.stack(rows)


def trace_real(subject: Subject, *, number: int, scored: int) -> Trace:
    """Return the trace of `number` real clips of BLOCK frames after the context; the first `scored` have nats."""
    simulator, context = subject.simulator, subject.context
    clips = subject.clips(BLOCK, number=number)
    nats, counts, changes, sharp = [], [], [], []
    for index, frames in enumerate(clips.frames):
        codes = simulator.tokenizer.encode(frames[None])
        if index < scored:
            features = past_features(simulator, codes[:, :-1], clips.actions[index : index + 1])[:, context - 1 :]
            nats.append(frame_nats(simulator, features, codes[:, context:]))
        looks = simulator.decode(codes[:, context - 1 :])
        counts.append(_counts(codes[:, context:], simulator))
        changes.append(change(looks))
        sharp.append(gradient_energy(looks[:, 1:]))
    return Trace(
        np.concatenate(nats), np.stack(counts, 1).swapaxes(0, 1), np.concatenate(changes), np.concatenate(sharp)
    )


def trace_imagined(
    simulator: Simulator,
    clips: Clips,
    future: np.ndarray,
    *,
    context: int,
    scored_every: int,
    seed: int,
    report: Callable[[int], None],
) -> Trace:
    """Return the trace of what follows the clips' contexts under actions `future` (b n), n a multiple of BLOCK."""
    told: list[tuple[Features, FrameCodes]] = []
    listened = recording(simulator, lambda features, codes: told.append((features, codes)))
    listened.seed(seed)
    listened.reset(clips.frames[:, :context], clips.actions[:, : context - 1])
    before = simulator.tokenizer.encode(clips.frames[:, context - 1 : context])
    nats, counts, changes, sharp = [], [], [], []
    for start in range(0, future.shape[1], BLOCK):
        told.clear()
        for step in range(start, start + BLOCK):
            listened.step(future[:, step])
        codes = torch.stack([drawn for _, drawn in told], dim=1)
        features = Features.stack([known for known, _ in told[::scored_every]])
        nats.append(frame_nats(simulator, features, codes[:, ::scored_every]))
        looks = simulator.decode(torch.cat([before, codes], dim=1))
        counts.append(_counts(codes, simulator))
        changes.append(change(looks))
        sharp.append(gradient_energy(looks[:, 1:]))
        before = codes[:, -1:]
        report((start + BLOCK) * len(future))
    return Trace(*(np.concatenate(part, axis=1) for part in (nats, [np.stack(counts, 1)], changes, sharp)))


def _counts(codes: Tensor, simulator: Simulator) -> np.ndarray:
    """Return how often each code appears in each clip of (b t h w): (b k)."""
    size = simulator.tokenizer.config.codebook_size
    return np.stack([np.bincount(clip.flatten().cpu().numpy(), minlength=size) for clip in codes])


def by_horizon(imagined: Trace, real: Trace, rng: np.random.Generator) -> dict[str, Any]:
    """Return the numbers of each block of imagined frames beside those of real frames."""
    blocks = imagined.counts.shape[1]
    real_nats = float(real.nats.mean())
    nats = _blocks(imagined.nats, blocks)
    alone = [code_distances(video[None], real.counts[:, 0], np.random.default_rng(0)) for video in imagined.counts]
    by_video = {
        "own_nats": nats,
        "code_distance": np.array(alone),
        **{
            name: _blocks(_inside(values, known), blocks)
            for name, values, known in (
                ("change within real range", imagined.change, real.change),
                ("sharpness within real range", imagined.sharpness, real.sharpness),
            )
        },
    }
    return {
        "videos": len(imagined.change),
        "steps": [BLOCK * (block + 1) for block in range(blocks)],
        "own_nats": bootstrap(nats, rng),
        "own_nats_over_real": bootstrap(nats / real_nats, rng),
        "real_nats": real_nats,
        "code_distance": code_distances(imagined.counts, real.counts[:, 0], rng),
        "real_code_distance": real_distance(real.counts[:, 0], len(imagined.counts), rng),
        "change": _looks(imagined.change, real.change, blocks, rng),
        "sharpness": _looks(imagined.sharpness, real.sharpness, blocks, rng),
        "per_clip": {name: rounded(values) for name, values in by_video.items()},
    }


def _blocks(values: np.ndarray, blocks: int) -> np.ndarray:
    """Return the mean of each block: (b n) -> (b blocks)."""
    out: np.ndarray = values.reshape(len(values), blocks, -1).mean(2)
    return out


def _looks(values: np.ndarray, real: np.ndarray, blocks: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return the mean by block beside that of real frames, and the share of frames within the range of 90% of those."""
    low, high = np.quantile(real, RANGE)
    return {
        "steps": [BLOCK * (block + 1) for block in range(blocks)],
        "imagined": bootstrap(_blocks(values, blocks), rng),
        "within_real_range": bootstrap(_blocks(_inside(values, real), blocks), rng),
        "real": float(real.mean()),
        "real_range_low": float(low),
        "real_range_high": float(high),
    }


def _inside(values: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Return 1 where values (b n) are within the range of 90% of the real ones, else 0: float64 (b n)."""
    low, high = np.quantile(real, RANGE)
    return ((values >= low) & (values <= high)).astype(np.float64)


def jensen_shannon(counts: np.ndarray, others: np.ndarray) -> float:
    """Return the Jensen-Shannon divergence in bits, 0 to 1, of two histograms (k) (Lin 1991)."""
    p, q = counts / counts.sum(), others / others.sum()
    middle = (p + q) / 2
    return float((_relative(p, middle) + _relative(q, middle)) / 2)


def _relative(p: np.ndarray, q: np.ndarray) -> float:
    some = p > 0
    return float((p[some] * np.log2(p[some] / q[some])).sum())


def code_distances(counts: np.ndarray, real: np.ndarray, rng: np.random.Generator) -> list[float]:
    """Return how far each block's codes (b blocks k) are from those of as many real clips (r k), over random groups."""
    groups = [real[rng.choice(len(real), len(counts), replace=False)].sum(0) for _ in range(SPLITS)]
    return [float(np.mean([jensen_shannon(block, group) for group in groups])) for block in counts.sum(0)]


def real_distance(real: np.ndarray, number: int, rng: np.random.Generator) -> float:
    """Return how far the codes of `number` real clips are from those of as many other ones, over random groups."""
    distances = []
    for _ in range(SPLITS):
        order = rng.permutation(len(real))
        distances.append(jensen_shannon(real[order[:number]].sum(0), real[order[number : 2 * number]].sum(0)))
    return float(np.mean(distances))


def _sanity(out: dict[str, Any], real: Trace, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Real clips have to look real by every measure, and the real game has to close its circle."""
    counts = real.counts[:, 0]
    number = len(counts) // REAL_CLIPS
    apart = real_distance(counts, number, rng)
    uniform = jensen_shannon(counts.sum(0), np.ones(counts.shape[1]))
    rows = [
        _claim("real codes are nearer to real ones than to uniform ones", apart < uniform, real=apart, uniform=uniform)
    ]
    imagined = float(np.mean(next(iter(out["horizons"].values()))["code_distance"]))
    claim = "imagined codes are no nearer to real ones than real ones are to each other, within a tenth"
    rows.append(_claim(claim, apart <= 1.1 * imagined, real=apart, imagined=imagined))
    half = len(counts) // 2
    for name, values in (("change", real.change), ("sharpness", real.sharpness)):
        low, high = np.quantile(values[:half], RANGE)
        inside = float(((values[half:] >= low) & (values[half:] <= high)).mean())
        rows.append(_claim(f"real {name} is within the range of other real clips", inside > 0.7, share=inside))
    game = out["full_circle"].get("psnr", {}).get("real_game")
    if game:
        full, part = game["full_circle"]["mean"], game["half_circle"]["mean"]
        rows.append(_claim("the real game's view comes back after a full circle", full > part, full=full, half=part))
    return rows


def _claim(claim: str, holds: bool, **figures: float) -> dict[str, Any]:
    return {"claim": claim, "holds": bool(holds), "figures": figures}
