"""Does the imagined world obey the actions?

Three tests, each of which a model that ignores its actions fails. How much worse is the future under random actions
than under the recorded ones (delta-PSNR, Bruce et al. 2024)? Is what is imagined under an action nearest to what the
real engine shows under that action, among all actions (counterfactuals)? Does a probe trained on real frames read the
action off the imagined frames as well as off reconstructed real ones (inverse dynamics)?
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from ...envs import GameDiedError
from ...types import UNKNOWN_ACTION, Report
from ..answers import Answer, Claim, Scalar, Series, Table
from ..harness.clips import Clips, psnr
from ..harness.oracle import Oracle
from ..harness.subject import Imaginer, Subject
from ..metrics.counterfactuals import (
    ALIKE_DB,
    COLUMNS,
    Choices,
    CounterfactualStarts,
    choices,
    find_starts,
    imagine_every_action,
    picture,
    with_shuffled_actions,
)
from ..metrics.cross_validation import CrossValidatedProbes, probes_for
from ..metrics.intervals import by_step, in_order, rounded
from ..metrics.inverse_dynamics import read_actions, reconstruct, score, shares_right

STEPS = 4  # the step at which control is measured (Bruce et al. 2024, sec. 3)
HORIZON = 10  # the clips are those on which fidelity is measured: the model's futures there are begun with
STARTS = 40  # clips at whose end the engine is given every action
ROUNDING = 1e-9  # of a mean of floats
CHECKED = 4  # at so many starts the engine is replayed a second time
SECONDS = {"delta": 45, "probe": 35, "replay": 25, "counterfactuals": 80}  # about, for the progress


Read = tuple[Table, dict[str, np.ndarray]]  # what the probe reads, and the share that is right in each clip (b)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the tests share."""

    subject: Subject
    probes: CrossValidatedProbes
    report: Report

    def share(self, stage: str) -> Report:
        """Return who is to be told about one stage of the whole."""
        return _share(self.report, stage)


def measure(subject: Subject, report: Report) -> Answer:
    """Return delta-PSNR, the counterfactual choices, the probe's F1, what must hold in them, and a picture.

    Raises:
        ValueError: if the data set has a single episode, or none long enough.
    """
    clips = subject.clips(HORIZON, number=subject.few(subject.num_clips))
    futures, delta = {}, {}
    imaginers = subject.imaginers()
    for number, (row, imaginer) in enumerate(imaginers.items(), 1):
        futures[row], delta[row] = delta_psnr(imaginer, clips, subject)
        _share(report, "delta")(number, len(imaginers))
    asked = Asked(subject=subject, probes=probes_for(subject, _share(report, "probe")), report=report)
    rng = np.random.default_rng(subject.seed)
    curves = {row: by_step(values, rng) for row, values in delta.items()}
    recorded = _read(asked, clips, {**futures, "real": clips.frames[:, subject.context :][:, :STEPS]})
    answer = Answer(
        scalars={"clips": Scalar(len(clips.frames))},
        series={"delta_psnr": Series("delta-PSNR, dB", tuple(range(1, STEPS + 1)), curves)},
        clips={f"delta_psnr/{row}": rounded(values) for row, values in delta.items()},
        claims=(_blind(delta),),
    )
    number = len(subject.dataset.info.action_names)
    return answer | _probe_part("recorded", "recorded actions", recorded, number) | _counterfactual(asked)


def delta_psnr(imaginer: Imaginer, clips: Clips, subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Return the future under the recorded actions, uint8 (b n H W 3), and its PSNR less that under random ones (b n).

    Both futures have the same noise: where the actions make no difference, the difference is exactly 0.
    """
    recorded = clips.actions[:, subject.context - 1 :]
    real = clips.frames[:, subject.context :][:, :STEPS]
    count = len(subject.dataset.info.action_names)
    random = np.random.default_rng(subject.seed).integers(count, size=recorded.shape)[:, :STEPS]
    followed = imaginer(clips, recorded, context=subject.context, seed=subject.seed)[:, :STEPS]
    other = imaginer(clips, random, context=subject.context, seed=subject.seed)
    return followed, psnr(followed, real) - psnr(other, real)


def _read(asked: Asked, clips: Clips, futures: Mapping[str, np.ndarray]) -> Read:
    subject, probes = asked.subject, asked.probes
    labels = read_actions(probes, subject.simulator, clips, futures, context=subject.context)
    actions = clips.actions[:, subject.context - 1 :][:, :STEPS]
    number = len(probes.action_names)
    table = score("inverse dynamics, recorded actions", labels, actions, num_actions=number, seed=subject.seed)
    return table, shares_right(labels, actions)


def _counterfactual(asked: Asked) -> Answer:
    """Return the choices at counterfactual starts, what the probe reads there, and a picture.

    Where there is no real engine that shows the recorded frames again, it is said why they were skipped.
    """
    subject = asked.subject
    clips = subject.clips(STEPS, number=subject.few(STARTS))
    replayed = asked.share("replay")
    try:
        with closing(Oracle(subject.dataset)) as oracle:
            starts = find_starts(
                oracle, clips, context=subject.context, steps=STEPS, on_clip=lambda n: replayed(n, len(clips.frames))
            )
            again = starts[:CHECKED]
            checked = choices(imagine_every_action(oracle, again, seed=0), again)
    except (ValueError, ImportError, GameDiedError) as error:
        return Answer(skipped={"counterfactuals": f"the real engine cannot be asked: {error}"})
    imaginers, made = subject.imaginers(), {}
    for done, (row, imaginer) in enumerate(imaginers.items(), 1):
        made[row] = imagine_every_action(imaginer, starts, seed=subject.seed)
        asked.share("counterfactuals")(done, len(imaginers))
    rows = {
        "reconstruction": np.stack([reconstruct(subject.simulator, futures) for futures in starts.futures]),
        **made,
        "shuffled_actions": with_shuffled_actions(made["model"], starts),
    }
    chosen = {"oracle": checked} | {row: choices(frames, starts) for row, frames in rows.items()}
    read = _read_counterfactuals(asked, starts, made)
    names = subject.dataset.info.action_names
    return Answer(
        scalars=_about(starts),
        tables={
            "counterfactuals": Table(
                "counterfactuals: the right action's future is the nearest", COLUMNS,
                {row: found.cells(seed=subject.seed) for row, found in chosen.items()},
            ),
            "confusion": _confusion(chosen["model"], names),
        },
        clips={f"top1/{row}": rounded(found.top1) for row, found in chosen.items() if row != "oracle"},
        claims=tuple(_counterfactual_claims(starts.chance, chosen)),
        pictures={"the same moment under every action": picture(starts, made["model"], names)},
    ) | _probe_part("counterfactual", "actions held", read, len(names))  # fmt: skip


def _about(starts: CounterfactualStarts) -> dict[str, Scalar]:
    figures = {
        "starts": len(starts.futures),
        "starts left out as the game ends": starts.ended,
        "starts left out as all actions look alike": starts.alike,
        "actions that look different, mean": float(starts.apart.sum(1).mean()),
        "alike above dB": ALIKE_DB,
        "chance": starts.chance,
    }
    return {name: Scalar(value) for name, value in figures.items()}


def _confusion(found: Choices, names: list[str] | tuple[str, ...]) -> Table:
    rows = {name: tuple(map(Scalar, counts)) for name, counts in zip(names, found.confusion.tolist(), strict=True)}
    return Table("the model's choices: asked (row), nearest (column)", tuple(names), rows)


def _read_counterfactuals(asked: Asked, starts: CounterfactualStarts, made: Mapping[str, np.ndarray]) -> Read:
    """Return how well the probe reads actions that do not follow from the ones before: without actions at chance."""
    subject, probes = asked.subject, asked.probes
    actions, steps = starts.futures.shape[1:3]
    rows = {"real": starts.futures, **made}
    read = [
        read_actions(
            probes,
            subject.simulator,
            starts.clips,
            {row: frames[:, action] for row, frames in rows.items()},
            context=subject.context,
        )
        for action in range(actions)
    ]
    given = np.where(starts.apart, np.arange(actions), UNKNOWN_ACTION).repeat(steps, axis=1)
    labels = {row: np.concatenate([each[row] for each in read], axis=1) for row in read[0]}
    table = score("inverse dynamics, every action held", labels, given, num_actions=actions, seed=subject.seed)
    return table, shares_right(labels, given)


def _blind(delta: Mapping[str, np.ndarray]) -> Claim:
    """Claim that what takes no actions is none the worse under random ones."""
    blind = {row: float(np.abs(delta[row]).max()) for row in ("no_actions", "copy_last")}
    text = "without actions, and for the last frame held still, delta-PSNR is 0"
    return Claim(text=text, holds=not any(blind.values()), figures=blind)


def _probe_part(name: str, what: str, read: Read, number: int) -> Answer:
    """Return what the probe read, and the claim that it reads no row clearly better than the one before it.

    A probe that does not read the real frames of a game says nothing of imagined ones: then it is said so.
    """
    (table, right), chance = read, 1 / number
    real = table.column("f1")["real"]
    if number > 1 and (real.high or real.number) <= chance:
        reason = f"the probe does not learn to read this game's real frames: F1 {real.number:.2f}, chance {chance:.2f}"
        return Answer(skipped={f"inverse dynamics, {what}": reason})
    rows = ("real", "reconstruction", "model")
    claim = in_order(f"{what}: the probe reads {' >= '.join(rows)}", {row: right[row] for row in rows})
    return Answer(tables={f"probe/{name}": table}, claims=(claim,))


def _counterfactual_claims(chance: float, chosen: Mapping[str, Choices]) -> Iterator[Claim]:
    """Yield the claims that hold for every model, under every action."""
    found = float(chosen["oracle"].top1.mean())
    text = "the engine replayed a second time finds every action"
    yield Claim(text=text, holds=found > 1 - ROUNDING, figures={"oracle": found})
    for row in ("no_actions", "copy_last"):
        top1, slack = float(chosen[row].top1.mean()), _slack(chosen[row].top1)
        text = f"counterfactuals: {row} is not clearly above chance"
        figures = {row: top1, "chance": chance, "slack": slack}
        yield Claim(text=text, holds=top1 <= chance + slack + ROUNDING, figures=figures)


def _slack(values: np.ndarray) -> float:
    """Return three standard errors of a mean over clips (b); everything, of a single clip."""
    return 3 * float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 1.0


def _share(report: Report, stage: str) -> Report:
    stages = list(SECONDS)
    before = sum(SECONDS[name] for name in stages[: stages.index(stage)])

    def part(done: int, total: int) -> None:
        report(before + SECONDS[stage] * done // total, sum(SECONDS.values()))

    return part
