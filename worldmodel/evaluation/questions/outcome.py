"""Does the model know what a step brings: its reward, and the end of the episode?

Two regimes. Teacher-forced: the heads on the real past, for every step of the clips. By horizon: the past after the
context is imagined under the recorded actions. Beside clips drawn from everything recorded stand clips that lead up to
an end, as ends are rare: recall is over all of them, false alarms and calibration over the former alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ...dynamics.outcome import RecordedOutcomes
from ...rollouts import EpisodeDataset
from ...simulator import Simulator
from ...training.data import Windows
from ...training.outcome import OutcomeClips
from ...types import Report
from ..answers import Answer, Curve, Scalar, Series
from ..harness.subject import Subject
from ..metrics.intervals import bootstrap, by_step

STEPS = 10
AT_ONCE = 8  # clips
BINS = 10  # of calibration
ENDS = {
    "end_auc": "AUC of the end",
    "end_recall": "recall of the end at the operating threshold",
    "end_false_alarms": "false alarms, a share of the steps without an end",
}


@dataclass(frozen=True)
class Answers:
    """What the heads said of some steps (b n), and what was so."""

    rewards: np.ndarray
    expected: np.ndarray
    ends: np.ndarray
    probabilities: np.ndarray


def measure(subject: Subject, report: Report) -> Answer:
    """Return reward error, and how well ends are foreseen, given the real past and by horizon.

    Without heads it is said that it was skipped.
    """
    simulator, rng = subject.simulator, np.random.default_rng(subject.seed)
    if not simulator.has_outcome:
        return Answer(skipped={"": "the checkpoint has no reward and end heads"})
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
    counts = {"clips": drawn.sum(), "clips_before_an_end": (~drawn).sum()}
    return (
        Answer(scalars={name: Scalar(int(count)) for name, count in counts.items()})
        | Answer(scalars={"operating_threshold": Scalar(threshold)})
        | _summary(_joined(forced), drawn, threshold, rng)
        | _by_horizon(_joined(imagined), drawn, threshold, rng)
    )


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


def _summary(answers: Answers, drawn: np.ndarray, threshold: float, rng: np.random.Generator) -> Answer:
    """Return the figures of steps given the real past."""
    error = (answers.expected - answers.rewards)[drawn]
    mean = answers.rewards[drawn].mean()
    scalars = {
        "reward_error": bootstrap(np.abs(error).mean(1), rng),
        "reward_error_of_the_mean": bootstrap(np.abs(answers.rewards[drawn] - mean).mean(1), rng),
        "reward_bias": bootstrap(error.mean(1), rng),
    }
    figures = end_figures(answers.ends, answers.probabilities, drawn, threshold)
    scalars |= {name: Scalar(value) for name, value in figures.items() if value is not None}
    series = {}
    if answers.ends[drawn].any():
        found = calibration(answers.ends[drawn], answers.probabilities[drawn])
        rows = {name: Curve(tuple(values)) for name, values in found.items()}
        bins = tuple(range(1, len(found["predicted"]) + 1))
        series["teacher_forced/calibration"] = Series("probability of the end, by tenth of the steps", bins, rows)
    return Answer(scalars={f"teacher_forced/{name}": value for name, value in scalars.items()}, series=series)


def _by_horizon(answers: Answers, drawn: np.ndarray, threshold: float, rng: np.random.Generator) -> Answer:
    """Return the figures by step, given an imagined past; figures of ends where some step has one."""
    steps = tuple(range(1, answers.rewards.shape[1] + 1))
    errors = by_step(np.abs(answers.expected - answers.rewards)[drawn], rng)
    series = {"by_horizon/reward_error": Series("reward error", steps, {"model": errors})}
    found = [
        end_figures(answers.ends[:, i : i + 1], answers.probabilities[:, i : i + 1], drawn, threshold)
        for i in range(len(steps))
    ]
    for name, title in ENDS.items():
        values = [(step, each[name]) for step, each in zip(steps, found, strict=True)]
        known = [(step, value) for step, value in values if value is not None]
        if known:
            asked, curve = zip(*known, strict=True)
            series[f"by_horizon/{name}"] = Series(title, tuple(asked), {"model": Curve(tuple(curve))})
    return Answer(series=series)


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
