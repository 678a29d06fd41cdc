"""How near is the imagined future to the real one, step by step, under the recorded actions?

Four rows, because a number is worth nothing without its baselines: the tokenizer's reconstruction of the real future
(the ceiling), the model, the model without actions, and the last context frame held still. A fifth is a check: the
model under actions that are all wrong. Near is meant in pixels (PSNR), in structure (SSIM), and in the features of the
inverse-dynamics probe, where 0 is the same and lower is nearer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...types import Report
from ..harness.clips import Clips, psnr
from ..harness.subject import Conditional, Subject, Unconditional, copy_last, slices
from ..metrics.cross_validation import CrossValidatedProbes, probes_for
from ..metrics.images import ssim
from ..metrics.intervals import all_and_moving, bootstrap, rounded, sign_flips
from ..metrics.inverse_dynamics import feature_distances

ROWS = ("reconstruction", "model", "no_actions", "copy_last", "wrong_actions")
SAMPLES = 8
OTHER_SEEDS = 1_000_003  # from here on, past those of the first sample
METRICS = {"psnr": psnr, "ssim": ssim}
FEATURES = "probe_feature_distance"
CLEARLY = 0.05  # p of a permutation test

Values = Mapping[str, np.ndarray]  # row -> (b n)


@dataclass(frozen=True)
class Course:
    """How far is imagined, on how many clips, and for how many of them several times."""

    steps: int
    clips: int
    clips_sampled: int


COURSES = (Course(10, 128, 16), Course(60, 24, 4))  # of 128 clips; other numbers in proportion


def measure(subject: Subject, report: Report) -> dict[str, Any]:
    """Return PSNR in dB, SSIM and the distance of the probe's features by step for each of ROWS over all and over
    moving clips, and the best of 8 samples. Without a second episode there is no probe and no such distance.
    """
    share = subject.num_clips / COURSES[0].clips / (10 if subject.quick else 1)
    courses = [Course(c.steps, max(2, round(c.clips * share)), round(c.clips_sampled * share)) for c in COURSES]
    longest = int(subject.dataset.lengths.max()) - subject.context
    probes = probes_for(subject) if len(subject.dataset) > 1 else None
    total = sum(_frames(course) for course in courses if course.steps <= longest)
    horizons: dict[str, Any] = {}
    done = 0
    for course in courses:
        if course.steps > longest:
            horizons[str(course.steps)] = {"skipped": f"no episode goes on for {course.steps} frames after the context"}
            continue
        horizons[str(course.steps)] = _follow(subject, course, probes, partial(_go_on, report, done, total))
        done += _frames(course)
    sanity = [row for found in horizons.values() for row in found.pop("sanity", [])]
    return {"context": subject.context, "horizons": horizons, "sanity": sanity}


def _go_on(report: Report, before: int, total: int, done: int) -> None:
    report(before + done, total)


def _frames(course: Course) -> int:
    """Return how many frames are imagined."""
    return course.steps * (3 * course.clips + (SAMPLES - 1) * course.clips_sampled)


def _follow(
    subject: Subject, course: Course, probes: CrossValidatedProbes | None, report: Callable[[int], None]
) -> dict[str, Any]:
    """Return what is measured over one horizon."""
    rng = np.random.default_rng(subject.seed)
    clips = subject.clips(course.steps, number=course.clips)
    quality = _quality(subject, clips, probes, rng, report)
    out = {
        "clips": course.clips,
        "steps": list(range(1, course.steps + 1)),
        **_rows(quality, clips.moving, rng),
        **_differences(quality["psnr"], clips.moving, rng),
        "per_clip": {row: rounded(values) for row, values in quality["psnr"].items()},
        "sanity": _sanity(quality["psnr"]),
    }
    if FEATURES in quality:
        out["per_clip"][FEATURES] = {row: rounded(values) for row, values in quality[FEATURES].items()}
        out["sanity"].append(_features_sanity(quality[FEATURES]))
    if course.clips_sampled:
        before = 3 * course.steps * course.clips
        sampled = _samples(subject, clips[: course.clips_sampled], quality, lambda done: report(before + done))
        out["best_of"] = _best(sampled, rng)
    return out


def _quality(
    subject: Subject,
    clips: Clips,
    probes: CrossValidatedProbes | None,
    rng: np.random.Generator,
    report: Callable[[int], None],
) -> dict[str, dict[str, np.ndarray]]:
    """Return each metric of each row: {metric: {row: (b n)}}."""
    names = len(subject.simulator.action_names)
    wrong = (clips.actions + rng.integers(1, max(2, names), clips.actions.shape)) % names
    parts: dict[str, dict[str, list[np.ndarray]]] = {name: {row: [] for row in ROWS} for name in METRICS}
    if probes is not None:
        parts[FEATURES] = {row: [] for row in ROWS}
    imaginers = Conditional(subject.simulator), Unconditional(subject.simulator)
    for part in slices(len(clips.frames)):
        some = clips[part]
        real = some.frames[:, subject.context :]
        futures = _futures(subject, some, wrong[part], imaginers, seed=part.start)
        for row, frames in futures.items():
            for name, metric in METRICS.items():
                parts[name][row].append(metric(frames, real))
        if probes is not None:
            rows = {"real": real, **futures}
            seen = feature_distances(probes, subject.simulator, some, rows, context=subject.context)
            for row, values in seen.items():
                parts[FEATURES][row].append(values)
        report(3 * real.shape[1] * part.stop)
    return {name: {row: np.concatenate(part) for row, part in rows.items()} for name, rows in parts.items()}


def _futures(
    subject: Subject, clips: Clips, wrong: np.ndarray, imaginers: tuple[Conditional, Unconditional], *, seed: int
) -> dict[str, np.ndarray]:
    """Return each row's frames (b n H W 3) for the future of some clips."""
    simulator, context = subject.simulator, subject.context
    told, untold = imaginers
    future = clips.actions[:, context - 1 :]
    asked = {"context": context, "seed": subject.seed + seed}
    return {
        "reconstruction": simulator.decode(simulator.tokenizer.encode(clips.frames[:, context:])),
        "model": told(clips, future, **asked),
        "no_actions": untold(clips, future, **asked),
        "copy_last": copy_last(clips, future, **asked),
        "wrong_actions": told(clips, wrong[:, context - 1 :], **asked),
    }


def _samples(
    subject: Subject, clips: Clips, quality: Mapping[str, Values], report: Callable[[int], None]
) -> dict[str, np.ndarray]:
    """Return each metric of SAMPLES samples of the model: (s b n). The first is the one already imagined."""
    number, context = len(clips.frames), subject.context
    others: dict[str, list[np.ndarray]] = {name: [] for name in METRICS}  # of each slice: (s-1 b n)
    told = Conditional(subject.simulator)
    for part in slices(number):
        some = clips[part]
        found: dict[str, list[np.ndarray]] = {name: [] for name in METRICS}
        for sample in range(SAMPLES - 1):
            seed = subject.seed + OTHER_SEEDS + sample * number + part.start
            frames = told(some, some.actions[:, context - 1 :], context=context, seed=seed)
            for name, metric in METRICS.items():
                found[name].append(metric(frames, some.frames[:, context:]))
            done = (SAMPLES - 1) * part.start + (sample + 1) * len(frames)
            report(done * frames.shape[1])
        for name, values in found.items():
            others[name].append(np.stack(values))
    first = {name: quality[name]["model"][None, :number] for name in METRICS}
    return {name: np.concatenate([first[name], np.concatenate(parts, axis=1)]) for name, parts in others.items()}


def _rows(quality: Mapping[str, Values], moving: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Return {metric: {row: by step}, metric_moving: ...}."""
    out: dict[str, Any] = {}
    for name, rows in quality.items():
        found = {row: all_and_moving(name, values, moving, rng) for row, values in rows.items()}
        for key in (name, f"{name}_moving"):
            out[key] = {row: intervals[key] for row, intervals in found.items()}
    return out


def _differences(rows: Values, moving: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Return in dB, clip by clip, how far the model is above its baselines and below its ceiling."""
    differences = {
        "model_above_copy_last": rows["model"] - rows["copy_last"],
        "model_above_no_actions": rows["model"] - rows["no_actions"],
        "model_below_reconstruction": rows["reconstruction"] - rows["model"],
    }
    found = {name: all_and_moving("all", values, moving, rng) for name, values in differences.items()}
    return {
        "psnr_differences": {name: intervals["all"] for name, intervals in found.items()},
        "psnr_differences_moving": {name: intervals["all_moving"] for name, intervals in found.items()},
    }


def _best(sampled: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, Any]:
    """Return the mean over the samples and the best of them: the one that is best over the whole horizon."""
    out: dict[str, Any] = {"samples": SAMPLES, "clips": next(iter(sampled.values())).shape[1]}
    for name, values in sampled.items():
        best = best_samples(values)
        out[name] = {"mean_of_samples": bootstrap(values.mean(0), rng), "best_sample": bootstrap(best, rng)}
    return out


def best_samples(values: np.ndarray) -> np.ndarray:
    """Return (b n) of values (s b n): for each clip the sample with the highest mean over the steps."""
    chosen = values.mean(2).argmax(0)
    return values[chosen, np.arange(values.shape[1])]


def _sanity(rows: Values) -> list[dict[str, Any]]:
    """Return what has to hold of the rows' means over clips and steps, if the checker is right."""
    steps = rows["model"].shape[1]
    means = {row: float(values.mean()) for row, values in rows.items()}
    order = (
        ("the reconstruction is nearer than the model", "reconstruction", "model"),
        ("the model is nearer under right actions than under wrong ones", "model", "wrong_actions"),
        ("the model is nearer under right actions than under none", "model", "no_actions"),
    )
    return [
        {
            "claim": f"{claim}, over {steps} steps",
            "holds": means[better] >= means[worse],
            "figures": {row: means[row] for row in (better, worse)},
        }
        for claim, better, worse in order
    ]


def _features_sanity(rows: Values) -> dict[str, Any]:
    """No row is clearly nearer to the real features than the one before it: not on so many clips by chance."""
    order = ("reconstruction", "model", "wrong_actions")
    steps = rows["model"].shape[1]
    means = {row: rows[row].mean(1) for row in order}
    apart = [means[after] - means[before] for before, after in itertools.pairwise(order)]
    clearly = [each.mean() < 0 and sign_flips(each, np.random.default_rng(0)) < CLEARLY for each in apart]
    return {
        "claim": f"distance of the probe's features: {' <= '.join(order)}, over {steps} steps",
        "holds": not any(clearly),
        "figures": {row: float(means[row].mean()) for row in order},
    }
