"""Does the imagined world obey the actions?

Three tests, each of which a model that ignores its actions fails. How much worse is the future under random actions
than under the recorded ones (delta-PSNR, Bruce et al. 2024)? Is what is imagined under an action nearest to what the
real engine shows under that action, among all actions (counterfactuals)? Does a probe trained on real frames read the
action off the imagined frames as well as off reconstructed real ones (inverse dynamics)?
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import numpy as np

from ...envs import GameDiedError
from ...types import NO_ACTION, Report
from ..harness.clips import Clips, psnr
from ..harness.oracle import Oracle
from ..harness.subject import Conditional, Imaginer, Subject, Unconditional, copy_last, slices
from ..metrics.counterfactuals import (
    ALIKE_DB,
    CounterfactualStarts,
    choices,
    find_starts,
    imagine_every_action,
    picture,
    with_shuffled_actions,
)
from ..metrics.cross_validation import CrossValidatedProbes, probes_for
from ..metrics.intervals import bootstrap, rounded
from ..metrics.inverse_dynamics import read_actions, reconstruct, score
from ..metrics.probe import NAME, STACK

STEPS = 4  # the step at which control is told (Bruce et al. 2024, sec. 3)
STARTS = 48  # clips at whose end the engine is given every action
QUICK_STARTS = 6
ROUNDING = 1e-9  # of a mean of floats
CHECKED = 6  # at so many starts the engine is replayed a second time
SECONDS = {"delta": 45, "probe": 35, "replay": 25, "model": 40, "no_actions": 40}  # about, for the progress


def measure(subject: Subject, report: Report) -> dict[str, Any]:
    """Return delta-PSNR, the counterfactual choices, the probe's F1, what must hold in them, and a picture.

    Raises:
        ValueError: if the data set has a single episode, or none long enough.
    """
    imaginers: dict[str, Imaginer] = {
        "model": Conditional(subject.simulator),
        "no_actions": Unconditional(subject.simulator),
        "copy_last": copy_last,
    }
    clips = subject.clips(STEPS, number=max(8, subject.num_clips // 10) if subject.quick else None)
    futures, delta = {}, {}
    for number, (row, imaginer) in enumerate(imaginers.items()):
        futures[row], values = delta_psnr(imaginer, clips, subject)
        delta[row] = bootstrap(values, np.random.default_rng(subject.seed)) | {"per_clip": rounded(values)}
        _share(report, "delta")(number + 1, len(imaginers))
    probes = probes_for(subject, _share(report, "probe"))
    result: dict[str, Any] = {
        "steps": STEPS,
        "clips": len(clips.frames),
        "action_names": list(subject.dataset.info.action_names),
        "delta_psnr": delta,
        "probe": {"network": NAME, "frames": STACK, "folds_of_episodes": len(probes.probes)},
    }
    futures["real"] = clips.frames[:, subject.context :]
    result["probe"]["recorded"] = _read(subject, probes, clips, futures)
    result |= _counterfactual(subject, imaginers, probes, result["probe"], report)
    return result | {"sanity": list(claims(result))}


def delta_psnr(imaginer: Imaginer, clips: Clips, subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Return the future under the recorded actions, uint8 (b n H W 3), and its PSNR less that under random ones (b n).

    Both futures have the same noise: where the actions make no difference, the difference is exactly 0.
    """
    real, recorded = clips.frames[:, subject.context :], clips.actions[:, subject.context - 1 :]
    count = len(subject.dataset.info.action_names)
    random = np.random.default_rng(subject.seed).integers(count, size=recorded.shape)
    pairs = [
        [
            imaginer(clips[part], future[part], context=subject.context, seed=subject.seed + part.start)
            for future in (recorded, random)
        ]
        for part in slices(len(real))
    ]
    told, other = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return told, psnr(told, real) - psnr(other, real)


def _read(
    subject: Subject, probes: CrossValidatedProbes, clips: Clips, futures: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    labels = read_actions(probes, subject.simulator, clips, futures, context=subject.context)
    told = clips.actions[:, subject.context - 1 :]
    return score(labels, told, num_actions=len(probes.action_names), seed=subject.seed)


def _counterfactual(
    subject: Subject,
    imaginers: Mapping[str, Imaginer],
    probes: CrossValidatedProbes,
    probe: dict[str, Any],
    report: Report,
) -> dict[str, Any]:
    """Return the choices at starts and their picture, and add to `probe` what it reads there.

    Where there is no real engine that shows the recorded frames again, the choices say why they were skipped.
    """
    clips = subject.clips(STEPS, number=QUICK_STARTS if subject.quick else STARTS)
    replayed = _share(report, "replay")
    try:
        with closing(Oracle(subject.dataset)) as oracle:
            starts = find_starts(
                oracle, clips, context=subject.context, steps=STEPS, on_clip=lambda n: replayed(n, len(clips.frames))
            )
            again = starts[:CHECKED]
            checked = choices(imagine_every_action(oracle, again, seed=0), again, seed=subject.seed)
    except (ValueError, ImportError, GameDiedError) as error:
        return {"counterfactual": {"skipped": f"the real engine cannot be asked: {error}"}}
    ways = {
        row: imagine_every_action(imaginer, starts, seed=subject.seed, report=_share(report, row))
        for row, imaginer in imaginers.items()
    }
    probe["counterfactual"] = _read_counterfactuals(subject, probes, starts, ways)
    rows = {
        "reconstruction": np.stack([reconstruct(subject.simulator, futures) for futures in starts.futures]),
        **ways,
        "wrong_actions": with_shuffled_actions(ways["model"], starts),
    }
    return {
        "counterfactual": {
            "starts": len(starts.futures),
            "left_out_as_the_game_ends": starts.ended,
            "left_out_as_all_actions_look_alike": starts.alike,
            "actions_taking_part": starts.apart.sum(1).tolist(),
            "alike_above_db": ALIKE_DB,
            "chance": starts.chance,
            "rows": {"oracle": checked} | {row: choices(way, starts, seed=subject.seed) for row, way in rows.items()},
        },
        "grid": picture(starts, ways["model"], subject.dataset.info.action_names),
    }


def _read_counterfactuals(
    subject: Subject, probes: CrossValidatedProbes, starts: CounterfactualStarts, ways: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Return how well the probe reads actions that do not follow from the ones before: who is not told is at chance."""
    actions, steps = starts.futures.shape[1:3]
    rows = {"real": starts.futures, **ways}
    read = [
        read_actions(
            probes,
            subject.simulator,
            starts.clips,
            {row: way[:, action] for row, way in rows.items()},
            context=subject.context,
        )
        for action in range(actions)
    ]
    asked = np.where(starts.apart, np.arange(actions), NO_ACTION).repeat(steps, axis=1)
    labels = {row: np.concatenate([each[row] for each in read], axis=1) for row in read[0]}
    return score(labels, asked, num_actions=actions, seed=subject.seed)


def claims(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what holds whatever the model is worth: who knows more does better, and who knows nothing is at chance."""
    delta = {row: [values[key][-1] for key in ("low", "mean", "high")] for row, values in result["delta_psnr"].items()}
    yield claim("random actions do not improve the model's future", delta["model"][2] >= 0, model=delta["model"][1])
    blind = {row: delta[row][1] for row in ("no_actions", "copy_last")}
    same = all(delta[row] == [0, 0, 0] for row in blind)
    yield claim("without actions, and for the last frame held still, delta-PSNR is 0", same, **blind)
    number = len(result["action_names"])
    f1 = result["probe"]["recorded"]["f1"]
    yield claim("the probe reads real frames better than chance", f1["real"]["low"] > 1 / number, **_means(f1, "real"))
    yield _in_order("recorded actions: the probe reads {}", f1, "real", "reconstruction", "model", "no_actions")
    if "rows" not in result["counterfactual"]:
        return
    chance = result["counterfactual"]["chance"]
    top1 = {row: values["top1"] for row, values in result["counterfactual"]["rows"].items()}
    found = top1["oracle"]["mean"]
    yield claim("the engine replayed a second time finds every action", found > 1 - ROUNDING, oracle=found)
    yield _in_order("counterfactuals: {}", top1, "oracle", "reconstruction", "model", "wrong_actions")
    for row in ("no_actions", "copy_last"):
        at_chance = top1[row]["low"] <= chance + ROUNDING
        yield claim(f"counterfactuals: {row} is not above chance", at_chance, chance=chance, **_means(top1, row))
    f1 = result["probe"]["counterfactual"]["f1"]
    yield _in_order("actions held: the probe reads {}", f1, "real", "reconstruction", "model", "no_actions")
    for row in ("no_actions", "copy_last"):
        at_chance = f1[row]["low"] <= chance + ROUNDING
        yield claim(f"actions held: the probe reads {row} no better than chance", at_chance, **_means(f1, row))


def claim(text: str, holds: bool, **figures: float) -> dict[str, Any]:
    """Return a line for the report."""
    return {"claim": text, "holds": bool(holds), "figures": figures}


def _in_order(text: str, intervals: Mapping[str, Mapping[str, float]], *rows: str) -> dict[str, Any]:
    """Claim that no row is clearly above the one before it."""
    pairs = itertools.pairwise(intervals[row] for row in rows)
    holds = all(lesser["low"] <= better["high"] for better, lesser in pairs)
    return claim(text.format(" >= ".join(rows)), holds, **_means(intervals, *rows))


def _means(intervals: Mapping[str, Mapping[str, float]], *rows: str) -> dict[str, float]:
    return {row: intervals[row]["mean"] for row in rows}


def _share(report: Report, stage: str) -> Report:
    """Return who is to be told about one stage of the whole; a stage without a length is not reported."""
    stages = list(SECONDS)
    before = sum(SECONDS[name] for name in stages[: stages.index(stage)]) if stage in stages else 0

    def part(done: int, total: int) -> None:
        if stage in stages:
            report(before + SECONDS[stage] * done // total, sum(SECONDS.values()))

    return part
