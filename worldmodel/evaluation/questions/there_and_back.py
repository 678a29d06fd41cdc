"""Is the world still there after looking away? One action is held, then its opposite for as many steps.

The return is compared with what the same model shows after standing still for as long. Opposites are read off the
actions' names. Where the real game can be replayed, it says how nearly the view comes back in truth.
"""

from __future__ import annotations

from contextlib import closing

import numpy as np

from ...action_names import opposites
from ...envs import GameDiedError
from ...types import Report
from ..answers import Answer, Scalar, Table
from ..harness.clips import psnr
from ..harness.oracle import Oracle
from ..harness.subject import Imaginer, Subject
from ..metrics.intervals import bootstrap, rounded
from .idle import noop_of

STEPS = 6  # away, and as many back
CLIPS = 32
COLUMNS = ("median", "worst", "mean", "away")


def measure(subject: Subject, report: Report) -> Answer:
    """Return the PSNR of the return to standing still, median, worst and mean over clips, and that of the view away.

    Without an action that does nothing or a pair of opposites it is said that it was skipped.
    """
    names = subject.simulator.action_names
    pair, noop = next(iter(opposites(names)), None), noop_of(names)
    if pair is None or noop is None:
        missing = "no two actions are opposites by their names" if noop is not None else "no action does nothing"
        return Answer(skipped={"": missing})
    clips = subject.clips(1, number=subject.few(CLIPS))
    number = len(clips.frames)
    there = np.tile(np.repeat(np.array(pair, np.int64), STEPS), (number, 1))
    still = np.full_like(there, noop)
    imaginers: dict[str, Imaginer] = dict(subject.conditional)
    found, rng, skipped = {}, np.random.default_rng(subject.seed), {}
    for done, (row, imaginer) in enumerate(imaginers.items(), 1):
        asked = {"context": subject.context, "seed": subject.seed}
        found[row] = compare(imaginer(clips, there, **asked), imaginer(clips, still, **asked))
        report(done, len(imaginers) + 1)
    try:
        with closing(Oracle(subject.dataset)) as oracle:
            real = [oracle(clips, future, context=subject.context) for future in (there, still)]
            found["real_game"] = compare(*real)
    except (ValueError, ImportError, GameDiedError) as error:
        skipped["the real game"] = str(error)
    cells = {row: _cells(back, away, rng) for row, (back, away) in found.items()}
    first, second = (names[action] for action in pair)
    title = f"{first} {STEPS} times, then {second}: PSNR of the return to standing still, dB"
    return Answer(
        scalars={"clips": Scalar(number), "steps each way": Scalar(STEPS)},
        tables={"return": Table(title, COLUMNS, cells)},
        clips={f"return/{row}": rounded(back) for row, (back, _) in found.items()},
        skipped=skipped,
    )


def compare(there: np.ndarray, still: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return PSNR to standing still, (b), of the return and of the farthest view: both uint8 (b 2n H W 3)."""
    middle = there.shape[1] // 2 - 1
    return psnr(there[:, -1], still[:, -1]), psnr(there[:, middle], still[:, middle])


def _cells(back: np.ndarray, away: np.ndarray, rng: np.random.Generator) -> tuple[Scalar, ...]:
    return (
        Scalar(float(np.median(back))),
        Scalar(float(back.min())),
        bootstrap(back, rng),
        Scalar(float(np.median(away))),
    )
