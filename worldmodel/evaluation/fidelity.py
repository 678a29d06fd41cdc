"""How near is the imagined future to the real one, step by step, under the recorded actions?

Four rows, because a number is worth nothing without its baselines: the tokenizer's reconstruction of the real future
(the ceiling), the model, the model without actions, and the last context frame held still. A fifth is a check: the
model under actions that are all wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .clips import Clips, psnr
from .images import ssim
from .intervals import all_and_moving, bootstrap, rounded
from .subject import CLIPS_AT_ONCE, Report, Subject, Told, Untold, copy_last

ROWS = ("reconstruction", "model", "no_actions", "copy_last", "wrong_actions")
SAMPLES = 8
OTHER_SEEDS = 1_000_003  # from here on, past those of the first sample
METRICS = {"psnr": psnr, "ssim": ssim}

Values = Mapping[str, np.ndarray]  # row -> (b n)


@dataclass(frozen=True)
class Course:
    """How far is imagined, on how many clips, and for how many of them several times."""

    steps: int
    clips: int
    clips_sampled: int


COURSES = (Course(10, 128, 16), Course(60, 24, 4))  # of 128 clips; other numbers in proportion


def measure(subject: Subject, report: Report) -> dict[str, Any]:
    """Return PSNR in dB and SSIM by step for each of ROWS over all and over moving clips, and the best of 8 samples."""
    share = subject.num_clips / COURSES[0].clips / (10 if subject.quick else 1)
    courses = [Course(c.steps, max(2, round(c.clips * share)), round(c.clips_sampled * share)) for c in COURSES]
    longest = int(subject.dataset.lengths.max()) - subject.context
    total = sum(_frames(course) for course in courses if course.steps <= longest)
    horizons: dict[str, Any] = {}
    done = 0
    for course in courses:
        if course.steps > longest:
            horizons[str(course.steps)] = {"skipped": f"no episode goes on for {course.steps} frames after the context"}
            continue
        horizons[str(course.steps)] = _follow(subject, course, partial(_go_on, report, done, total))
        done += _frames(course)
    sanity = [row for found in horizons.values() for row in found.pop("sanity", [])]
    return {"context": subject.context, "horizons": horizons, "sanity": sanity}


def _go_on(report: Report, before: int, total: int, done: int) -> None:
    report(before + done, total)


def _frames(course: Course) -> int:
    """Return how many frames are imagined."""
    return course.steps * (3 * course.clips + (SAMPLES - 1) * course.clips_sampled)


def _follow(subject: Subject, course: Course, report: Callable[[int], None]) -> dict[str, Any]:
    """Return what is measured over one horizon."""
    rng = np.random.default_rng(subject.seed)
    clips = subject.clips(course.steps, number=course.clips)
    quality = _quality(subject, clips, rng, report)
    out = {
        "clips": course.clips,
        "steps": list(range(1, course.steps + 1)),
        **_rows(quality, clips.moving, rng),
        **_differences(quality["psnr"], clips.moving, rng),
        "per_clip": {row: rounded(values) for row, values in quality["psnr"].items()},
        "sanity": _sanity(quality["psnr"]),
    }
    if course.clips_sampled:
        before = 3 * course.steps * course.clips
        sampled = _samples(subject, clips[: course.clips_sampled], quality, lambda done: report(before + done))
        out["best_of"] = _best(sampled, rng)
    return out


def _quality(
    subject: Subject, clips: Clips, rng: np.random.Generator, report: Callable[[int], None]
) -> dict[str, dict[str, np.ndarray]]:
    """Return each metric of each row: {metric: {row: (b n)}}."""
    names = len(subject.simulator.action_names)
    wrong = (clips.actions + rng.integers(1, max(2, names), clips.actions.shape)) % names
    parts: dict[str, dict[str, list[np.ndarray]]] = {name: {row: [] for row in ROWS} for name in METRICS}
    for start in range(0, len(clips.frames), CLIPS_AT_ONCE):
        some = clips[start : start + CLIPS_AT_ONCE]
        real = some.frames[:, subject.context :]
        for row, frames in _futures(subject, some, wrong[start : start + CLIPS_AT_ONCE], seed=start).items():
            for name, metric in METRICS.items():
                parts[name][row].append(metric(frames, real))
        report(3 * real.shape[1] * (start + len(real)))
    return {name: {row: np.concatenate(part) for row, part in rows.items()} for name, rows in parts.items()}


def _futures(subject: Subject, clips: Clips, wrong: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """Return each row's frames (b n H W 3) for the future of some clips."""
    simulator, context = subject.simulator, subject.context
    future = clips.actions[:, context - 1 :]
    asked = {"context": context, "seed": subject.seed + seed}
    return {
        "reconstruction": simulator.decode(simulator.tokenizer.encode(clips.frames[:, context:])),
        "model": Told(simulator)(clips, future, **asked),
        "no_actions": Untold(simulator)(clips, future, **asked),
        "copy_last": copy_last(clips, future, **asked),
        "wrong_actions": Told(simulator)(clips, wrong[:, context - 1 :], **asked),
    }


def _samples(
    subject: Subject, clips: Clips, quality: Mapping[str, Values], report: Callable[[int], None]
) -> dict[str, np.ndarray]:
    """Return each metric of SAMPLES samples of the model: (s b n). The first is the one already imagined."""
    number, context = len(clips.frames), subject.context
    parts = {name: [rows["model"][:number]] for name, rows in quality.items()}
    order = np.tile(np.arange(number), SAMPLES - 1)
    for start in range(0, len(order), CLIPS_AT_ONCE):
        chosen = order[start : start + CLIPS_AT_ONCE]
        some = Clips(clips.frames[chosen], clips.actions[chosen])
        seed = subject.seed + OTHER_SEEDS + start
        frames = Told(subject.simulator)(some, some.actions[:, context - 1 :], context=context, seed=seed)
        for name, metric in METRICS.items():
            parts[name].append(metric(frames, some.frames[:, context:]))
        report((start + len(chosen)) * frames.shape[1])
    return {name: np.concatenate(values).reshape(SAMPLES, number, -1) for name, values in parts.items()}


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
