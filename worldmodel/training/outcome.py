"""What the outcome heads learn from: which rewards a game gives, how rare its ends are, and both for each clip."""

from __future__ import annotations

from collections.abc import Sequence

from typing import Any

import numpy as np
import torch

from ..dynamics.outcome import RecordedOutcomes, symexp, symlog
from ..rollouts import EpisodeDataset

MAX_EXACT = 16  # different rewards; a game with more is given points to share them between
NUM_POINTS = 41
MAX_END_WEIGHT = 100.0


def reward_points(rewards: np.ndarray) -> tuple[float, ...]:
    """Return the values that the reward head chooses from: those of `rewards` (n), or points evenly spaced in symlog."""
    values = np.unique(rewards.astype(np.float32))
    if len(values) <= MAX_EXACT:
        return tuple(values.tolist())
    low, high = symlog(torch.tensor([values[0], values[-1]], dtype=torch.float64))
    points = symexp(torch.linspace(float(low), float(high), NUM_POINTS, dtype=torch.float64))
    return tuple(points.clamp(float(values[0]), float(values[-1])).tolist())


def end_weight(*, steps: int, ends: int) -> float:
    """Return how many times as much as another step an end counts in training: as often as it is rarer, within limits."""
    return float(np.clip((steps - ends) / ends, 1.0, MAX_END_WEIGHT)) if ends else 1.0


def outcome_settings(dataset: EpisodeDataset) -> dict[str, Any]:
    """Return the settings of the reward and end heads for the steps of a data set."""
    rewards = np.concatenate([dataset.rewards(index) for index in range(len(dataset))])
    ends = sum(record.terminated for record in dataset.records)
    return {"rewards": reward_points(rewards), "end_weight": end_weight(steps=len(rewards), ends=ends)}


class OutcomeClips:
    """Rewards and ends of clips of a data set, by (episode, first frame)."""

    def __init__(self, dataset: EpisodeDataset, *, clip: int, episodes: int) -> None:
        self.steps = clip - 1
        self.frames = dataset.lengths
        self.rewards = [dataset.rewards(index) for index in range(episodes)]
        self.terminated = [record.terminated for record in dataset.records[:episodes]]

    def read(self, places: Sequence[tuple[int, int]]) -> RecordedOutcomes:
        """Return the outcomes of the steps of clips."""
        rewards, ends, shown = [], [], []
        for episode, start in places:
            steps = np.arange(start, start + self.steps)
            rewards.append(self.rewards[episode][steps])
            ends.append(self.terminated[episode] & (steps == len(self.rewards[episode]) - 1))
            shown.append(steps + 1 < self.frames[episode])
        batches = (torch.from_numpy(np.stack(part)) for part in (rewards, ends, shown))
        return RecordedOutcomes(*batches)
