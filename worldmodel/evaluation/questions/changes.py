"""Is what changes in the picture imagined right, where copying the last frame is always wrong?

PSNR flatters a game whose picture hardly changes. So the error is taken on those pixels that differ from the last
context frame, divided by copy-last's on the same pixels; and of the codes that changed since then, the share that is
imagined exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from ...types import Report
from ..answers import Answer, Claim, Scalar, Series
from ..harness.clips import Clips
from ..harness.subject import Subject
from ..metrics.changes import changed, ratio_of_sums, squared_error_on
from ..metrics.intervals import rounded
from ..metrics.inverse_dynamics import reconstruct

HORIZON = 10  # the clips are those on which fidelity is measured
ROUNDING = 1e-9


def measure(subject: Subject, report: Report) -> Answer:
    """Return, by step, each row's error on changed pixels over copy-last's, and the share of changed codes kept."""
    clips = subject.clips(HORIZON, number=subject.few(subject.num_clips))
    context, rng = subject.context, np.random.default_rng(subject.seed)
    real, last = clips.frames[:, context:], clips.frames[:, context - 1 : context]
    where = changed(real, last)
    if not where.any():
        return Answer(skipped={"": f"in none of {len(real)} clips does a pixel change"})
    frames = {"reconstruction": reconstruct(subject.simulator, real)}
    imaginers = subject.imaginers()
    for done, (row, imaginer) in enumerate(imaginers.items(), 1):
        frames[row] = imaginer(clips, clips.actions[:, context - 1 :], context=context, seed=subject.seed)
        report(done, len(imaginers) + 1)
    errors = {row: squared_error_on(made, real, where) for row, made in frames.items()}
    steps = tuple(range(1, HORIZON + 1))
    ratios = {row: ratio_of_sums(error, errors["copy_last"], rng) for row, error in errors.items()}
    kept = _codes_kept(subject, clips)
    series = {"error_ratio": Series("squared error on changed pixels, of copy-last's", steps, ratios)}
    skipped = {}
    if kept["copy_last"][1].any():
        shares = {row: ratio_of_sums(right, whole, rng) for row, (right, whole) in kept.items()}
        series["codes_kept"] = Series("share of changed codes that are right", steps, shares)
    else:
        skipped["codes_kept"] = "no code changes"
    report(1, 1)
    return Answer(
        scalars={"clips": Scalar(len(real)), "changed share of the pixels": Scalar(float(where.mean()))},
        series=series,
        clips={f"error_on_changed/{row}": _by_clip(error, where) for row, error in errors.items()},
        claims=_claims({row: curve.average for row, curve in ratios.items()}, int(kept["copy_last"][0].sum())),
        skipped=skipped,
    )


def _codes_kept(subject: Subject, clips: Clips) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return for each row how many of the codes that changed are right, and how many changed: (b n) each."""
    context, future = subject.context, clips.actions[:, subject.context - 1 :]
    encode = subject.simulator.tokenizer.encode
    target, before = encode(clips.frames[:, context:]), encode(clips.frames[:, context - 1 : context])
    moved = target != before
    asked = {**subject.conditional, "no_actions": subject.unconditional}
    rows = {row: imaginer.codes(clips, future, context=context, seed=subject.seed) for row, imaginer in asked.items()}
    rows["copy_last"] = before.expand_as(target)
    return {row: (_count((codes == target) & moved), _count(moved)) for row, codes in rows.items()}


def _count(cells: Tensor) -> np.ndarray:
    """Return how many cells (b n h w) are true in each frame: float64 (b n)."""
    found: np.ndarray = cells.flatten(2).sum(2).double().cpu().numpy()
    return found


def _by_clip(error: np.ndarray, where: np.ndarray) -> list[Any]:
    """Return the mean squared error on changed pixels of each clip and step, 0 where none changes."""
    count = np.maximum(3 * where.sum((-2, -1)), 1)
    return rounded(error / count)


def _claims(ratios: Mapping[str, float], kept_by_copying: int) -> tuple[Claim, ...]:
    """Copy-last stands at exactly one and keeps no changed code, for every model."""
    alike = abs(ratios["copy_last"] - 1) < ROUNDING
    return (
        Claim(text="copy-last's error is its own", holds=alike, figures={"copy_last": ratios["copy_last"]}),
        Claim(
            text="the last frame held still has no changed code right",
            holds=kept_by_copying == 0,
            figures={"copy_last": kept_by_copying},
        ),
    )
