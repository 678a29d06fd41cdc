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
from ..metrics.intervals import bootstrap, by_step, rounded

STEPS = 10
AT_ONCE = 8  # clips
BINS = 10  # of calibration


@dataclass(frozen=True)
class Heads:
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
    facts = {
        "clips": int(drawn.sum()),
        "clips before an end": int((~drawn).sum()),
        "operating threshold": threshold,
    }
    answer = Answer(scalars={name: Scalar(value) for name, value in facts.items()})
    answer |= _summary(_joined(forced), drawn, threshold, rng)
    return answer | _by_horizon(_joined(imagined), drawn, threshold, rng)


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
) -> tuple[Heads, Heads]:
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
        Heads(rewards, expected.float().cpu().numpy(), ends, probability.float().cpu().numpy())
        for expected, probability in (real, own)
    )
    return first, second


def _joined(parts: list[Heads]) -> Heads:
    names = ("rewards", "expected", "ends", "probabilities")
    return Heads(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _summary(heads: Heads, drawn: np.ndarray, threshold: float, rng: np.random.Generator) -> Answer:
    """Return what the heads know given the real past."""
    error = np.abs(heads.expected - heads.rewards)[drawn]
    mean = np.abs(heads.rewards - heads.rewards[drawn].mean())[drawn]
    rewards = {
        "reward_error": bootstrap(error.mean(1), rng),
        "reward_error_of_the_mean": bootstrap(mean.mean(1), rng),
        "reward_bias": bootstrap((heads.expected - heads.rewards)[drawn].mean(1), rng),
    }
    figures = end_figures(heads.ends, heads.probabilities, drawn, threshold)
    ends = {name: Scalar(value) for name, value in figures.items() if value is not None}
    bins = calibration(heads.ends[drawn], heads.probabilities[drawn])
    rows = {name: Curve(tuple(values)) for name, values in bins.items()}
    steps = tuple(range(1, len(bins["predicted"]) + 1))
    return Answer(
        scalars={f"teacher_forced/{name}": value for name, value in (rewards | ends).items()},
        series={"calibration": Series("calibration of the end head, by tenth of the steps", steps, rows)},
        clips={"teacher_forced/reward_error": rounded(error)},
    )


def _by_horizon(heads: Heads, drawn: np.ndarray, threshold: float, rng: np.random.Generator) -> Answer:
    """Return the same by step. A figure that a step is without, having no end, is left out as a whole."""
    count = heads.rewards.shape[1]
    figures = [
        end_figures(heads.ends[:, step : step + 1], heads.probabilities[:, step : step + 1], drawn, threshold)
        for step in range(count)
    ]
    by_name = {name: [each[name] for each in figures] for name in figures[0]}
    ends = {
        name: Curve(tuple(value for value in values if value is not None))
        for name, values in by_name.items()
        if None not in values
    }
    error = np.abs(heads.expected - heads.rewards)[drawn]
    steps = tuple(range(1, count + 1))
    series = {"by_horizon/reward_error": Series("reward error by step", steps, {"model": by_step(error, rng)})}
    if ends:
        series["by_horizon/ends"] = Series("ends foreseen by step", steps, ends)
    return Answer(series=series, clips={"by_horizon/reward_error": rounded(error)})


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
