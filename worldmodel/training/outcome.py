"""What the outcome heads learn from: which rewards a game gives, how rare its ends are, and both for each clip.

The heads and their loss are in `dynamics/outcome.py`.
"""

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
    """Return the values the reward head chooses from: those of `rewards` (n), or points evenly spaced in symlog."""
    values = np.unique(rewards.astype(np.float32))
    if len(values) <= MAX_EXACT:
        return tuple(values.tolist())
    low, high = symlog(torch.tensor([values[0], values[-1]], dtype=torch.float64))
    points = symexp(torch.linspace(float(low), float(high), NUM_POINTS, dtype=torch.float64))
    return tuple(points.clamp(float(values[0]), float(values[-1])).tolist())


def end_weight(*, steps: int, ends: int) -> float:
    """Return how many times as much as another step an end counts: as often as it is rarer, within limits."""
    return float(np.clip((steps - ends) / ends, 1.0, MAX_END_WEIGHT)) if ends else 1.0


def outcome_settings(dataset: EpisodeDataset) -> dict[str, Any]:
    """Return the settings of the reward and end heads for the steps of a data set."""
    steps = [dataset.steps(index) for index in range(len(dataset))]
    rewards = np.concatenate([each.rewards for each in steps])
    ends = sum(int(each.terminated.sum()) for each in steps)
    return {"rewards": reward_points(rewards), "end_weight": end_weight(steps=len(rewards), ends=ends)}


class OutcomeClips:
    """Rewards and ends of clips of a data set, by (episode, first frame)."""

    def __init__(self, dataset: EpisodeDataset, *, clip: int, episodes: int) -> None:
        self.steps = clip - 1
        self.frames = dataset.lengths
        self.episodes = [dataset.steps(index) for index in range(episodes)]

    def read(self, places: Sequence[tuple[int, int]]) -> RecordedOutcomes:
        """Return the outcomes of the steps of clips."""
        clips = [(self.episodes[episode], slice(start, start + self.steps)) for episode, start in places]
        shown = [np.arange(start, start + self.steps) + 1 < self.frames[episode] for episode, start in places]
        return RecordedOutcomes(
            rewards=torch.from_numpy(np.stack([episode.rewards[steps] for episode, steps in clips])),
            ends=torch.from_numpy(np.stack([episode.terminated[steps] for episode, steps in clips])),
            shown=torch.from_numpy(np.stack(shown)),
        )
