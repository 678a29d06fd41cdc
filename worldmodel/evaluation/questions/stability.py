"""Do imagined videos keep looking real over hundreds of frames?

Long videos are imagined under recorded actions. By horizon: how likely the model holds its own codes, beside real ones;
how far the codes' frequencies are from real ones; and whether sharpness and the change from frame to frame stay where
they are in the reconstructions of real frames. A frame alone can be plausible where the video is not: the change tells
of jumps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from ...rollouts import EpisodeDataset
from ...simulator import Simulator
from ...types import Codes, Report
from ..answers import Answer, Claim, Curve, Scalar, Series
from ..harness.clips import Clips
from ..harness.subject import Subject
from ..metrics.images import change, gradient_energy
from ..metrics.intervals import by_step, rounded
from ..metrics.scoring import clip_nats

BLOCK = 30  # frames that are summed up in one number
REAL_CLIPS = 4  # real clips of a block's length for each imagined video: twice two groups as large as the videos
SPLITS = 20
RANGE = (0.05, 0.95)
ROUNDING = 1e-9
TITLES = {
    "own_nats": "NLL of own samples, nats a code",
    "own_nats_over_real": "NLL of own samples over that of real frames",
    "code_distance_by_video": "distance of each video's codes from real ones, bits",
    "change": "change from frame to frame, grey levels",
    "change_within_real_range": "share of frames whose change is within the real range",
    "sharpness": "sharpness, gradient energy",
    "sharpness_within_real_range": "share of frames whose sharpness is within the real range",
}


@dataclass(frozen=True)
class Course:
    """So many videos of so many frames; of the blocks, the last and every `scored_every`-th before it are scored."""

    videos: int
    frames: int
    scored_every: int


COURSES = (Course(8, 300, 3), Course(1, 3000, 10))
QUICK = (Course(2, 60, 1), Course(1, 90, 3))


@dataclass(frozen=True)
class Trace:
    """What is left of videos: nats a code of scored blocks (b m), counts of codes (b blocks k), and looks (b n)."""

    nats: np.ndarray
    counts: np.ndarray
    change: np.ndarray
    sharpness: np.ndarray


def measure(subject: Subject, report: Report) -> Answer:
    """Return the numbers by horizon for each length; the longest without the map is left out where there is one."""
    courses = QUICK if subject.quick else COURSES
    rng = np.random.default_rng(subject.seed)
    real_clips = REAL_CLIPS * courses[0].videos
    jobs = [(c, row) for c in courses for row in subject.simulators if row == "model" or c is courses[0]]
    total, done = real_clips * BLOCK + sum(course.videos * course.frames for course, _ in jobs), real_clips * BLOCK
    real = {
        row: trace_real(subject, simulator, number=real_clips, scored=courses[0].videos)
        for row, simulator in subject.simulators.items()
    }
    report(done, total)
    answer = Answer(scalars={"block": Scalar(BLOCK)})
    for course in courses:
        clips = subject.clips(1, number=course.videos)
        future = recorded_actions(subject.dataset, rng, videos=course.videos, frames=course.frames)
        traces = {}
        for row in (row for other, row in jobs if other is course):
            traces[row] = trace_imagined(
                subject.simulators[row], clips, future, context=subject.context, scored_every=course.scored_every,
                seed=subject.seed, report=partial(_go_on, report, done, total),
            )  # fmt: skip
            done += course.videos * course.frames
        answer |= by_horizon(traces, real, rng)
        if course is courses[0]:
            answer |= Answer(claims=tuple(_claims(traces["model"], real["model"], rng)))
    report(total, total)
    return answer


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


def trace_real(subject: Subject, simulator: Simulator, *, number: int, scored: int) -> Trace:
    """Return the trace of `number` real clips of BLOCK frames after the context; the first `scored` have nats.

    They are scored as the blocks of imagined videos are: only so can the two be compared.
    """
    context = subject.context
    clips = subject.clips(BLOCK, number=number)
    nats, counts, changes, sharp = [], [], [], []
    for index, frames in enumerate(clips.frames):
        codes = simulator.tokenizer.encode(frames[None])
        if index < scored:
            found = clip_nats(simulator, codes, clips.actions[index : index + 1], context=context)
            nats.append(found.mean(1, keepdims=True))
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
    """Return the trace of what follows the clips' contexts under actions `future` (b n), n a multiple of BLOCK.

    A block is scored as a recorded clip is: given the frames before it, as many as the context has.
    """
    known = clips.actions[:, : context - 1]
    own = simulator.fork()
    own.seed(seed)
    own.reset(clips.frames[:, :context], known)
    past, actions = simulator.tokenizer.encode(clips.frames[:, :context]), np.concatenate([known, future], axis=1)
    blocks = future.shape[1] // BLOCK
    scored = set(range(blocks - 1, -1, -scored_every))
    nats, counts, changes, sharp = [], [], [], []
    for block in range(blocks):
        start = block * BLOCK
        codes = torch.stack([own.step(future[:, start + step]) for step in range(BLOCK)], dim=1)
        whole = torch.cat([past, codes], dim=1)
        if block in scored:
            between = actions[:, start : start + context + BLOCK - 1]
            nats.append(clip_nats(simulator, whole, between, context=context).mean(1, keepdims=True))
        looks = simulator.decode(whole[:, context - 1 :])
        counts.append(_counts(codes, simulator))
        changes.append(change(looks))
        sharp.append(gradient_energy(looks[:, 1:]))
        past = whole[:, -context:]
        report((start + BLOCK) * len(future))
    return Trace(*(np.concatenate(part, axis=1) for part in (nats, [np.stack(counts, 1)], changes, sharp)))


def _counts(codes: Codes, simulator: Simulator) -> np.ndarray:
    """Return how often each code appears in each clip of (b t h w): (b k)."""
    size = simulator.tokenizer.config.codebook_size
    return np.stack([np.bincount(clip.flatten().cpu().numpy(), minlength=size) for clip in codes])


def by_horizon(imagined: Mapping[str, Trace], real: Mapping[str, Trace], rng: np.random.Generator) -> Answer:
    """Return the numbers of each block of imagined frames, a row for each simulator, beside those of real frames."""
    first = imagined["model"]
    blocks, length = first.counts.shape[1], first.change.shape[1]
    steps = tuple(BLOCK * (block + 1) for block in range(blocks))
    counts = real["model"].counts[:, 0]
    values: dict[str, dict[str, np.ndarray]] = {name: {} for name in TITLES}
    for row, trace in imagined.items():
        values["own_nats"][row] = trace.nats
        values["own_nats_over_real"][row] = values["own_nats"][row] / real[row].nats.mean()
        values["code_distance_by_video"][row] = np.array(
            [code_distances(video[None], counts, np.random.default_rng(0)) for video in trace.counts]
        )
        for name, ours, known in (
            ("change", trace.change, real["model"].change),
            ("sharpness", trace.sharpness, real["model"].sharpness),
        ):
            values[name][row] = _blocks(ours, blocks)
            values[f"{name}_within_real_range"][row] = _blocks(_inside(ours, known), blocks)
    every = -(-blocks // first.nats.shape[1])  # blocks to a scored one
    series = {
        name: Series(
            f"{TITLES[name]} ({length} frames)",
            steps[(blocks - 1) % every :: every] if name.startswith("own_nats") else steps,
            {row: by_step(v, rng) for row, v in rows.items()},
        )
        for name, rows in values.items()
    }
    distances = {row: Curve(tuple(code_distances(t.counts, counts, rng))) for row, t in imagined.items()}
    series["code_distance"] = Series(f"distance of the codes from real ones, bits ({length} frames)", steps, distances)
    return Answer(
        scalars={f"{length}/videos": Scalar(len(first.change)), **_real_figures(length, real, len(first.counts), rng)},
        series={f"{length}/{name}": found for name, found in series.items()},
        clips={f"{length}/{name}/{row}": rounded(v) for name, rows in values.items() for row, v in rows.items()},
    )


def _real_figures(length: int, real: Mapping[str, Trace], videos: int, rng: np.random.Generator) -> dict[str, Scalar]:
    """Return what the same measures say of real frames."""
    trace = real["model"]
    figures = {f"real_nats/{row}": float(found.nats.mean()) for row, found in real.items()}
    figures["real_code_distance"] = real_distance(trace.counts[:, 0], videos, rng)
    for name, found in (("change", trace.change), ("sharpness", trace.sharpness)):
        low, high = np.quantile(found, RANGE)
        figures |= {
            f"real_{name}": float(found.mean()),
            f"real_{name}/low": float(low),
            f"real_{name}/high": float(high),
        }
    return {f"{length}/{name}": Scalar(value) for name, value in figures.items()}


def _blocks(values: np.ndarray, blocks: int) -> np.ndarray:
    """Return the mean of each block: (b n) -> (b blocks)."""
    out: np.ndarray = values.reshape(len(values), blocks, -1).mean(2)
    return out


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


def _claims(imagined: Trace, real: Trace, rng: np.random.Generator) -> Iterator[Claim]:
    """Real clips have to look real by every measure."""
    counts = real.counts[:, 0]
    number = len(counts) // REAL_CLIPS
    apart = real_distance(counts, number, rng)
    uniform = jensen_shannon(counts.sum(0), np.ones(counts.shape[1]))
    text = "real codes are nearer to real ones than to uniform ones"
    yield Claim(text=text, holds=apart < uniform, figures={"real": apart, "uniform": uniform})
    own = jensen_shannon(counts.sum(0), counts.sum(0))
    yield Claim(text="codes are at no distance from themselves", holds=own < ROUNDING, figures={"own": own})
    half = len(counts) // 2
    for name, values in (("change", real.change), ("sharpness", real.sharpness)):
        low, high = np.quantile(values[:half], RANGE)
        inside = float(((values[half:] >= low) & (values[half:] <= high)).mean())
        text = f"half of the frames of other real clips, or more, are within the real range of {name}"
        yield Claim(text=text, holds=inside >= 0.5, figures={"share": inside})
