"""Does the view come back when the player has turned full circle?

`right` is held for as many steps as the recorded game needs for 360 degrees. A step turns by a fixed angle, so the
circle does not close exactly: the real game, given the same actions, says how much nearness was to be had.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

import numpy as np

from ...rollouts import EpisodeDataset
from ...types import Report
from ..answers import Answer, Claim, Scalar, Table
from ..harness.clips import Clips, psnr
from ..harness.oracle import Oracle
from ..harness.subject import Subject
from ..metrics.intervals import bootstrap, in_order, rounded

TURN, STILL, ANGLE = "right", "noop", "angle"
SETTLE = 2  # steps of standing still before the turn begins: what moves comes to rest
MAX_STEPS = 400
COLUMNS = ("full circle", "half circle", "other place")
CLIPS, QUICK_CLIPS = 16, 4
LEAST = 3  # recorded steps from which the angle of a step is believed


def measure(subject: Subject, report: Report) -> Answer:
    """Return PSNR between the views before and after a full circle, after half of one, and of another place.

    Without recorded angles or the action it is said why it was skipped.
    """
    names, dataset = subject.simulator.action_names, subject.dataset
    if TURN not in names or TURN not in dataset.info.action_names or ANGLE not in dataset.info.variables:
        return Answer(skipped={"": f"the recordings have no action {TURN!r} or no variable {ANGLE!r}"})
    steps, degrees = circle_steps(dataset)
    if not steps:
        return Answer(skipped={"": f"{TURN!r} is recorded too seldom to know how far it turns"})
    number, settle = QUICK_CLIPS if subject.quick else CLIPS, SETTLE if STILL in names else 0
    still = [names.index(STILL)] * settle if settle else []
    actions = [*still, *([names.index(TURN)] * steps)]
    clips = subject.clips(1, number=number)
    future = np.tile(np.array(actions, np.int64), (number, 1))
    last = clips.frames[:, subject.context - 1 : subject.context]
    rebuilt = subject.simulator.decode(subject.simulator.tokenizer.encode(last))
    rng = np.random.default_rng(subject.seed)
    views = {}
    for done, (row, imaginer) in enumerate(subject.conditional.items(), 1):
        imagined = imaginer(clips, future, context=subject.context, seed=subject.seed)
        views[row] = np.concatenate([rebuilt, imagined], axis=1)
        report(done, len(subject.conditional) + 1)
    real = _really(subject, clips, future)
    if real is not None:
        views["real_game"] = real
    found = {row: compare(frames, settle=settle) for row, frames in views.items()}
    cells = {row: tuple(bootstrap(values, rng) for values in parts.values()) for row, parts in found.items()}
    facts = {"steps held": steps, "degrees": degrees, "clips": number}
    return Answer(
        scalars={name: Scalar(value) for name, value in facts.items()},
        tables={"psnr": Table("PSNR to the view before the turn, dB", COLUMNS, cells)},
        clips={f"full circle/{row}": rounded(parts["full circle"]) for row, parts in found.items()},
        claims=_claims(found.get("real_game")),
    )


def compare(views: np.ndarray, *, settle: int) -> dict[str, np.ndarray]:
    """Return PSNR of the view before the turn with COLUMNS' views, (b) each, of views uint8 (b 1+n H W 3): before the
    turn is at `settle`.
    """
    before, half, after = views[:, settle], views[:, (settle + views.shape[1] - 1) // 2], views[:, -1]
    others = (after, half, np.roll(before, 1, axis=0))
    return {name: psnr(other, before) for name, other in zip(COLUMNS, others, strict=True)}


def _claims(real: Mapping[str, np.ndarray] | None) -> tuple[Claim, ...]:
    """The real game has to close its circle, where it was asked."""
    if real is None:
        return ()
    rows = {name: real[name] for name in ("full circle", "half circle")}
    return (in_order("the real game's view comes back after a full circle", rows),)


def circle_steps(dataset: EpisodeDataset) -> tuple[int, float]:
    """Return for how many steps TURN is held for 360 degrees, and the degrees it then has turned; 0 if not known.

    The first steps of a turn may be slower: each is as far as the median recorded one that was held as long.
    """
    turned: dict[int, list[float]] = {}
    action = dataset.info.action_names.index(TURN)
    for index in range(len(dataset)):
        angles = dataset.variables(index)[ANGLE]
        turns = (np.diff(angles) + 180) % 360 - 180
        held = 0
        for turn, chosen in zip(turns, dataset.actions(index), strict=True):
            held = held + 1 if chosen == action else 0
            if held:
                turned.setdefault(held, []).append(float(turn))
    known = [turned[held] for held in sorted(turned) if len(turned[held]) >= LEAST]
    medians = [abs(float(np.median(values))) for values in known]
    if not medians or not medians[-1]:
        return 0, 0.0
    medians += [medians[-1]] * (MAX_STEPS - len(medians))
    total = np.cumsum(medians)
    steps = int(np.abs(total - 360).argmin())
    return steps + 1, float(total[steps])


def _really(subject: Subject, clips: Clips, future: np.ndarray) -> np.ndarray | None:
    """Return what the real game shows, the last context frame first; None where it cannot be shown for two clips."""
    try:
        oracle = Oracle(subject.dataset)
    except ValueError:
        return None
    found = []
    with closing(oracle):
        for i in range(len(clips.frames)):
            clip = clips[i : i + 1]
            last = clip.frames[:, subject.context - 1 : subject.context]
            try:
                found.append(np.concatenate([last, oracle(clip, future[i : i + 1], context=subject.context)], axis=1))
            except ValueError:  # the game ends on the way, or is not the one that was recorded
                continue
    return np.concatenate(found) if len(found) > 1 else None
