"""Does the model know what a step brings: its reward, and the end of the episode?

Two regimes. Teacher-forced: the heads on the real past, for every step of the clips. By horizon: the past after the
context is imagined under the recorded actions. Beside clips drawn from everything recorded stand clips that lead up to
an end, as ends are rare: recall is over all of them, false alarms and calibration over the former alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..dynamics.outcome import RecordedOutcomes
from ..rollouts import EpisodeDataset
from ..simulator import Simulator
from ..training.data import Windows
from ..training.outcome import OutcomeClips
from ..types import Report
from .intervals import bootstrap
from .subject import Subject

STEPS = 10
AT_ONCE = 8  # clips
BINS = 10  # of calibration


@dataclass(frozen=True)
class Answers:
    """What the heads said of some steps (b n), and what was so."""

    rewards: np.ndarray
    expected: np.ndarray
    ends: np.ndarray
    probabilities: np.ndarray


def measure(subject: Subject, report: Report) -> dict[str, Any]:
    """Return reward error, and how well ends are foreseen, given the real past and by horizon.

    Without heads there is nothing to ask: {"skipped": why}.
    """
    simulator, rng = subject.simulator, np.random.default_rng(subject.seed)
    if not simulator.has_outcome:
        return {"skipped": "the checkpoint has no reward and end heads"}
    number = max(AT_ONCE, subject.num_clips // (10 if subject.quick else 1))
    places, drawn = draw_places(subject.dataset, frames=subject.context + STEPS, number=number, seed=subject.seed)
    outcomes = OutcomeClips(subject.dataset, clip=subject.context + STEPS, episodes=len(subject.dataset))
    forced, imagined = [], []
    for start in range(0, len(places), AT_ONCE):
        some = places[start : start + AT_ONCE]
        answers = _ask(simulator, subject.dataset, some, outcomes.read(some), subject.context, subject.seed + start)
        forced.append(answers[0])
        imagined.append(answers[1])
        report(start + len(some), len(places))
    threshold = 1 / (1 + simulator.dynamics.config.end_weight)  # where the weighted probability is 1/2
    return {
        "clips": int(drawn.sum()),
        "clips_before_an_end": int((~drawn).sum()),
        "operating_threshold": threshold,
        "teacher_forced": _summary(_joined(forced), drawn, threshold, rng),
        "by_horizon": _by_horizon(_joined(imagined), drawn, threshold, rng),
    }


def draw_places(
    dataset: EpisodeDataset, *, frames: int, number: int, seed: int
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Return places of clips (episode, first frame), and which were drawn from everything recorded, bool (b).

    The others, at most as many, end with an episode that the game itself ended; their last step may have no frame.

    Raises:
        ValueError: if no episode is long enough.
    """
    rng = np.random.default_rng(seed)
    steps = [dataset.steps(index) for index in range(len(dataset))]
    lengths = np.array([len(each.actions) + 1 for each in steps])
    everywhere = Windows.over(lengths, np.arange(len(dataset)), clip=frames).draw(rng, number)
    ended = [i for i, each in enumerate(steps) if lengths[i] >= frames and each.terminated[-1]]
    chosen = rng.permutation(ended)[:number].tolist() if ended else []
    before_ends = [(int(i), int(lengths[i] - frames)) for i in chosen]
    return everywhere + before_ends, np.arange(number + len(before_ends)) < number


def _ask(
    simulator: Simulator,
    dataset: EpisodeDataset,
    places: list[tuple[int, int]],
    recorded: RecordedOutcomes,
    context: int,
    seed: int,
) -> tuple[Answers, Answers]:
    """Return what the heads say given the real past, and given an imagined one: of the steps after the context."""
    length = context + STEPS - 1  # frames of which a step follows
    frames = np.stack([dataset.frames(episode, start, start + length) for episode, start in places])
    actions = torch.from_numpy(np.stack([dataset.steps(e).actions[start : start + length] for e, start in places]))
    codes = simulator.encode(frames)
    outcome = simulator.outcomes(codes, actions.to(codes.device))
    real = outcome.reward[:, context - 1 :], outcome.end_probability[:, context - 1 :]
    simulator.seed(seed)
    simulator.reset_codes(codes[:, :context], actions[:, : context - 1])
    steps = [simulator.step_outcome(actions[:, t]) for t in range(context - 1, length)]
    own = (
        torch.stack([step.expected_reward for step in steps], dim=1),
        torch.stack([step.end_probability for step in steps], dim=1),
    )
    rewards, ends = (part[:, context - 1 :].numpy() for part in (recorded.rewards, recorded.ends))
    first, second = (
        Answers(rewards, expected.float().cpu().numpy(), ends, probability.float().cpu().numpy())
        for expected, probability in (real, own)
    )
    return first, second


def _joined(parts: list[Answers]) -> Answers:
    names = ("rewards", "expected", "ends", "probabilities")
    return Answers(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _summary(answers: Answers, drawn: np.ndarray, threshold: float, rng: np.random.Generator) -> dict[str, Any]:
    error = np.abs(answers.expected - answers.rewards)[drawn]
    mean = np.abs(answers.rewards - answers.rewards[drawn].mean())[drawn]
    return {
        "reward_error": bootstrap(error.mean(1), rng),
        "reward_error_of_the_mean": bootstrap(mean.mean(1), rng),
        "reward_bias": bootstrap((answers.expected - answers.rewards)[drawn].mean(1), rng),
        **end_figures(answers.ends, answers.probabilities, drawn, threshold),
        "calibration": calibration(answers.ends[drawn], answers.probabilities[drawn]),
    }


def _by_horizon(answers: Answers, drawn: np.ndarray, threshold: float, rng: np.random.Generator) -> dict[str, Any]:
    """Return the same by step. Ends of one step are few: recall is over the ends within so many steps."""
    steps = range(answers.rewards.shape[1])
    figures = [
        end_figures(answers.ends[:, step : step + 1], answers.probabilities[:, step : step + 1], drawn, threshold)
        for step in steps
    ]
    return {
        "steps": [step + 1 for step in steps],
        "reward_error": bootstrap(np.abs(answers.expected - answers.rewards)[drawn], rng),
        **{name: [each[name] for each in figures] for name in figures[0]},
    }


def end_figures(
    ends: np.ndarray, probabilities: np.ndarray, drawn: np.ndarray, threshold: float
) -> dict[str, float | None]:
    """Return AUC, recall and false alarms of ends (b n) at a threshold; None where there is no end, or nothing else.

    False alarms are a share of the steps without an end, of the clips `drawn` from everything.
    """
    found, goes_on = probabilities[ends], probabilities[drawn][~ends[drawn]]
    return {
        "end_auc": auc(found, goes_on),
        "end_recall": float((found > threshold).mean()) if len(found) else None,
        "end_false_alarms": float((goes_on > threshold).mean()) if len(goes_on) else None,
    }


def auc(positive: np.ndarray, negative: np.ndarray) -> float | None:
    """Return the probability that a positive's score is above a negative's, ties counting half; None without both."""
    if not len(positive) or not len(negative):
        return None
    ordered = np.sort(negative)
    below, not_above = np.searchsorted(ordered, positive, "left"), np.searchsorted(ordered, positive, "right")
    return float((below + not_above).mean() / (2 * len(negative)))


def calibration(ends: np.ndarray, probabilities: np.ndarray) -> dict[str, list[float]]:
    """Return mean predicted and observed shares of ends, in bins with equally many steps each."""
    order = np.argsort(probabilities, axis=None)
    bins = [part for part in np.array_split(order, BINS) if len(part)]
    predicted, observed = probabilities.flatten(), ends.flatten()
    return {
        "predicted": [float(predicted[part].mean()) for part in bins],
        "observed": [float(observed[part].mean()) for part in bins],
    }
