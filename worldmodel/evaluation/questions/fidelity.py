"""How near is the imagined future to the real one, step by step, under the recorded actions?

Rows, because a number is worth nothing without its baselines: the tokenizer's reconstruction of the real future (the
ceiling), the model, the model without its learned map where it has one, the model without actions, and the last context
frame held still. One more is a check: the model under actions that are all wrong. Near is meant in pixels (PSNR), in
structure (SSIM), and in the features of the inverse-dynamics probe, where 0 is the same and lower is nearer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...types import Report
from ..answers import Answer, Claim, Curve, Scalar, Series
from ..harness.clips import Clips, psnr
from ..harness.subject import Subject, slices
from ..metrics.cross_validation import CrossValidatedProbes, probes_for
from ..metrics.images import ssim
from ..metrics.intervals import by_step, in_order, of_moving, rounded
from ..metrics.inverse_dynamics import feature_distances

SAMPLES = 8
OTHER_SEEDS = 1_000_003  # from here on, past those of the first sample
METRICS = {"psnr": psnr, "ssim": ssim}
FEATURES = "probe_feature_distance"
TITLES = {"psnr": "PSNR, dB", "ssim": "SSIM", FEATURES: "distance of the probe's features, lower is nearer"}

Values = Mapping[str, np.ndarray]  # row -> (b n)


@dataclass(frozen=True)
class Course:
    """How far is imagined, on how many clips, and for how many of them several times."""

    steps: int
    clips: int
    clips_sampled: int


COURSES = (Course(10, 128, 16), Course(60, 24, 0))  # of 128 clips; other numbers in proportion


def measure(subject: Subject, report: Report) -> Answer:
    """Return PSNR in dB, SSIM and the distance of the probe's features by step for each row, over all and over moving
    clips, and the best of 8 samples. Without a second episode there is no probe and no such distance.
    """
    share = subject.num_clips / COURSES[0].clips / (10 if subject.quick else 1)
    courses = [
        Course(c.steps, max(2, round(c.clips * share)), round(c.clips_sampled * share)) for c in _courses(subject)
    ]
    longest = int(subject.dataset.lengths.max()) - subject.context
    probes = probes_for(subject) if len(subject.dataset) > 1 else None
    total = sum(_frames(subject, course) for course in courses if course.steps <= longest)
    answer, done = Answer(), 0
    for course in courses:
        if course.steps > longest:
            reason = f"no episode goes on for {course.steps} frames after the context"
            answer |= Answer(skipped={f"{course.steps} steps": reason})
            continue
        answer |= _follow(subject, course, probes, partial(_go_on, report, done, total))
        done += _frames(subject, course)
    return answer


def _courses(subject: Subject) -> tuple[Course, ...]:
    """Return how far to imagine; a quick look takes the first course alone."""
    return COURSES[:1] if subject.quick else COURSES


def _go_on(report: Report, before: int, total: int, done: int) -> None:
    report(before + done, total)


def _frames(subject: Subject, course: Course) -> int:
    """Return how many frames are imagined."""
    rows = len(subject.simulators) + 2  # without actions, and under wrong ones
    return course.steps * (rows * course.clips + (SAMPLES - 1) * course.clips_sampled)


def _follow(
    subject: Subject, course: Course, probes: CrossValidatedProbes | None, report: Callable[[int], None]
) -> Answer:
    """Return what is measured over one horizon."""
    rng = np.random.default_rng(subject.seed)
    clips = subject.clips(course.steps, number=course.clips)
    quality = _quality(subject, clips, probes, report)
    series = _series(quality, clips.moving, rng) | _differences(quality["psnr"], clips.moving, rng)
    if course.clips_sampled:
        before = _frames(subject, Course(course.steps, course.clips, 0))
        sampled = _samples(subject, clips[: course.clips_sampled], quality, lambda done: report(before + done))
        series |= _best(sampled, rng)
    per_clip = {f"{metric}/{row}": rounded(values) for metric in quality for row, values in quality[metric].items()}
    return Answer(
        scalars={f"{course.steps}/clips": Scalar(course.clips)},
        series={f"{course.steps}/{name}": found for name, found in series.items()},
        clips={f"{course.steps}/{name}": values for name, values in per_clip.items()},
        claims=tuple(_claims(quality)),
    )


def _quality(
    subject: Subject, clips: Clips, probes: CrossValidatedProbes | None, report: Callable[[int], None]
) -> dict[str, dict[str, np.ndarray]]:
    """Return each metric of each row: {metric: {row: (b n)}}."""
    wrong = subject.wrong_actions(clips)
    parts: dict[str, dict[str, list[np.ndarray]]] = {}
    for part in slices(len(clips.frames)):
        some = clips[part]
        real = some.frames[:, subject.context :]
        futures = _futures(subject, some, wrong[part], seed=part.start)
        found = {name: {row: metric(made, real) for row, made in futures.items()} for name, metric in METRICS.items()}
        if probes is not None:
            rows = {"real": real, **futures}
            found[FEATURES] = feature_distances(probes, subject.simulator, some, rows, context=subject.context)
        for name, by_row in found.items():
            for row, values in by_row.items():
                parts.setdefault(name, {}).setdefault(row, []).append(values)
        report((len(futures) - 2) * real.shape[1] * part.stop)
    return {name: {row: np.concatenate(part) for row, part in rows.items()} for name, rows in parts.items()}


def _futures(subject: Subject, clips: Clips, wrong: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """Return each row's frames (b n H W 3) for the future of some clips."""
    simulator, context = subject.simulator, subject.context
    future = clips.actions[:, context - 1 :]
    rows = {"reconstruction": simulator.decode(simulator.tokenizer.encode(clips.frames[:, context:]))}
    for row, imaginer in subject.imaginers().items():
        rows[row] = imaginer(clips, future, context=context, seed=subject.seed + seed)
    under_wrong = subject.conditional["model"](
        clips, wrong[:, context - 1 :], context=context, seed=subject.seed + seed
    )
    return rows | {"wrong_actions": under_wrong}


def _samples(
    subject: Subject, clips: Clips, quality: Mapping[str, Values], report: Callable[[int], None]
) -> dict[str, np.ndarray]:
    """Return each metric of SAMPLES samples of the model: (s b n). The first is the one already imagined."""
    number, context = len(clips.frames), subject.context
    others: dict[str, list[np.ndarray]] = {name: [] for name in METRICS}  # of each slice: (s-1 b n)
    for part in slices(number):
        some = clips[part]
        found: dict[str, list[np.ndarray]] = {name: [] for name in METRICS}
        for sample in range(SAMPLES - 1):
            seed = subject.seed + OTHER_SEEDS + sample * number + part.start
            frames = subject.conditional["model"](some, some.actions[:, context - 1 :], context=context, seed=seed)
            for name, metric in METRICS.items():
                found[name].append(metric(frames, some.frames[:, context:]))
            done = (SAMPLES - 1) * part.start + (sample + 1) * len(frames)
            report(done * frames.shape[1])
        for name, values in found.items():
            others[name].append(np.stack(values))
    first = {name: quality[name]["model"][None, :number] for name in METRICS}
    return {name: np.concatenate([first[name], np.concatenate(parts, axis=1)]) for name, parts in others.items()}


def _series(quality: Mapping[str, Values], moving: np.ndarray, rng: np.random.Generator) -> dict[str, Series]:
    """Return every metric by step, and the same over moving clips as metric_moving."""
    found = {}
    for name, rows in quality.items():
        found[name] = _of(TITLES[name], rows, rng)
        some = {row: of_moving(values, moving) for row, values in rows.items()}
        found[f"{name}_moving"] = _of(f"{TITLES[name]}, moving clips", some, rng)
    return found


def _of(title: str, rows: Values, rng: np.random.Generator) -> Series:
    curves: dict[str, Curve] = {row: by_step(values, rng) for row, values in rows.items()}
    steps = next(iter(rows.values())).shape[1]
    return Series(f"{title} ({steps} steps)", tuple(range(1, steps + 1)), curves)


def _differences(rows: Values, moving: np.ndarray, rng: np.random.Generator) -> dict[str, Series]:
    """Return in dB, clip by clip, how far the model is above its baselines and below its ceiling."""
    differences = {
        "model above copy-last": rows["model"] - rows["copy_last"],
        "model above no actions": rows["model"] - rows["no_actions"],
        "model below reconstruction": rows["reconstruction"] - rows["model"],
    }
    if "without_map" in rows:
        differences["model above without map"] = rows["model"] - rows["without_map"]
        differences["without map above copy-last"] = rows["without_map"] - rows["copy_last"]
    some = {name: of_moving(values, moving) for name, values in differences.items()}
    return {
        "psnr_differences": _of("PSNR differences, dB", differences, rng),
        "psnr_differences_moving": _of("PSNR differences on moving clips, dB", some, rng),
    }


def _best(sampled: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, Series]:
    """Return the mean over the samples and the best of them: the one that is best over the whole horizon."""
    found = {}
    for name, values in sampled.items():
        rows = {"mean of samples": values.mean(0), "best sample": best_samples(values)}
        found[f"best_of_{SAMPLES}/{name}"] = _of(
            f"{TITLES[name]}, {SAMPLES} samples of {values.shape[1]} clips", rows, rng
        )
    return found


def best_samples(values: np.ndarray) -> np.ndarray:
    """Return (b n) of values (s b n): for each clip the sample with the highest mean over the steps."""
    chosen = values.mean(2).argmax(0)
    return values[chosen, np.arange(values.shape[1])]


def _claims(quality: Mapping[str, Values]) -> list[Claim]:
    """Return what has to hold if the checker is right: who knows more is not clearly farther from the real."""
    rows = {row: values.mean(1) for row, values in quality["psnr"].items()}
    steps = quality["psnr"]["model"].shape[1]
    found = [
        in_order(f"{text}, over {steps} steps", {better: rows[better], worse: rows[worse]})
        for text, better, worse in (
            ("the reconstruction is no farther than the model", "reconstruction", "model"),
            ("the model is no farther under right actions than under wrong ones", "model", "wrong_actions"),
            ("the model is no farther under right actions than under none", "model", "no_actions"),
        )
    ]
    if FEATURES in quality:
        order = ("reconstruction", "model", "wrong_actions")
        nearness = {row: -quality[FEATURES][row].mean(1) for row in order}
        found.append(in_order(f"minus the distance of the probe's features, over {steps} steps", nearness))
    return found
