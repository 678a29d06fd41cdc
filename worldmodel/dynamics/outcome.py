"""Reward and end of a step, predicted from the context features: two small heads.

The alignment is that of an episode: features of (frame t, action t) -> the reward of that step, and whether it ended
the episode by the game's own rules. The two are drawn as one: p(reward) p(end | reward), so that an imagined episode
does not collect the reward of its last step twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import DynamicsConfig
from .layers import table

POOLING_HEADS = 4
END_SCALE = 10.0  # learning-rate multiplier of the table: it has to become a difference of many nats


@dataclass(frozen=True)
class Outcome:
    """Distribution of the outcome of a step: log-probabilities of each reward, and the end's logit given each."""

    rewards: Tensor  # (v), the values
    log_probabilities: Tensor  # (... v)
    end_logits: Tensor  # (... v), calibrated: without the class weight of training

    @property
    def reward(self) -> Tensor:
        """The expected reward (...)."""
        return self.log_probabilities.exp() @ self.rewards

    @property
    def end_probability(self) -> Tensor:
        """The probability (...) that the episode ends, whatever the reward."""
        return (self.log_probabilities.exp() * self.end_logits.sigmoid()).sum(-1)

    def draw(self, uniform: Tensor, *, threshold: float | None = None) -> tuple[Tensor, Tensor]:
        """Return a reward (...) and whether the episode ends (...), decided by uniform numbers (... 2) in 0..1.

        The end is a Bernoulli draw given the drawn reward; with a `threshold`, it is whether the probability of the
        end given that reward is above it.
        """
        cumulative = self.log_probabilities.exp().cumsum(-1)
        drawn = (cumulative < uniform[..., :1] * cumulative[..., -1:]).sum(-1).clamp(max=len(self.rewards) - 1)
        end = self.end_logits.gather(-1, drawn.unsqueeze(-1)).squeeze(-1).sigmoid()
        return self.rewards[drawn], end > (uniform[..., 1] if threshold is None else threshold)


@dataclass(frozen=True)
class RecordedOutcomes:
    """What the steps of a batch of clips led to. The last step of an episode may have no next frame."""

    rewards: Tensor  # float32 (b t)
    ends: Tensor  # bool (b t), terminated
    shown: Tensor  # bool (b t), whether there is a next frame

    def to(self, device: torch.device) -> RecordedOutcomes:
        """Return them on a device."""
        return RecordedOutcomes(self.rewards.to(device), self.ends.to(device), self.shown.to(device))

    def __getitem__(self, clips: slice) -> RecordedOutcomes:
        """Return those of some of the clips."""
        return RecordedOutcomes(self.rewards[clips], self.ends[clips], self.shown[clips])


class OutcomeHead(nn.Module):
    """Features (... n d) of a step's patches -> `Outcome`.

    Features are pooled over the patches by attention: what a reward depends on may be in a few of them only. Rewards
    are the values of `config.rewards`: the exact set of a game that has few, else points between which a reward is
    shared (two-hot, Hafner et al. 2023, sec. "Critic learning"), evenly spaced in symlog. No prediction leaves their
    range.
    """

    rewards: Tensor

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        dim, values = config.outcome_dim, len(config.rewards)
        self.attention = nn.Linear(config.context_dim, POOLING_HEADS)
        self.patches = nn.Linear(config.context_dim, dim)
        self.pooled = nn.Linear(dim, dim)
        self.reward = nn.Linear(dim, values)
        self.end = nn.Linear(dim, 1)
        # How much likelier the end is under each reward: an episode often ends with the step that brings the largest.
        self.end_of_reward = table(nn.Parameter(torch.zeros(values)))
        self.end_weight = config.end_weight
        for output in (self.reward, self.end):
            table(output.get_parameter("weight"))
            nn.init.zeros_(output.weight)
            nn.init.zeros_(output.bias)
        self.register_buffer("rewards", torch.tensor(config.rewards), persistent=False)

    def forward(self, features: Tensor) -> Outcome:
        """Return the outcome (...) of steps with features (... n d)."""
        log_probabilities, end_logits = self._logits(features)
        weight = torch.tensor(self.end_weight, device=features.device).log()
        return Outcome(self.rewards, log_probabilities, end_logits - weight)

    def loss(self, features: Tensor, recorded: RecordedOutcomes) -> Tensor:
        """Return nats of the rewards plus the class-weighted nats of the ends under features (b t n d).

        An end counts `end_weight` times as much as a step that goes on; the two weights are such that both classes
        together count 1.
        """
        log_probabilities, end_logits = self._logits(features)
        target = two_hot(recorded.rewards, self.rewards)
        reward_nats = -(target * log_probabilities).sum(-1).mean()
        given = (target * end_logits).sum(-1)
        share = (1 + self.end_weight) / 2
        weights = torch.where(recorded.ends, share, share / self.end_weight)
        return reward_nats + F.binary_cross_entropy_with_logits(given, recorded.ends.float(), weights)

    def _logits(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities of the rewards (... v) and logits of the end given each (... v), as trained."""
        weights = self.attention(features).float().softmax(-2).to(features.dtype)
        said = F.relu(self.patches(features)).unflatten(-1, (POOLING_HEADS, -1))
        pooled = (weights.unsqueeze(-1) * said).sum(-3).flatten(-2)
        hidden = F.relu(self.pooled(pooled)) + pooled
        return self.reward(hidden).float().log_softmax(-1), self.end(hidden).float() + END_SCALE * self.end_of_reward


def symlog(x: Tensor) -> Tensor:
    """Return sign(x) log(1 + |x|): large and small rewards side by side (Hafner et al. 2023)."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """Return the inverse of `symlog`."""
    return x.sign() * x.abs().expm1()


def two_hot(values: Tensor, points: Tensor) -> Tensor:
    """Return values (...) as weights (... v) of the two neighbouring points (v, ascending), linear in symlog.

    A value that is a point has one weight of 1; one outside the points has the nearest.
    """
    if len(points) == 1:
        return torch.ones(*values.shape, 1, device=values.device)
    scale, x = symlog(points), symlog(values)
    above = torch.searchsorted(scale, x.contiguous()).clamp(1, len(points) - 1)
    low, high = scale[above - 1], scale[above]
    share = ((x - low) / (high - low)).clamp(0, 1)
    weights = torch.zeros(*values.shape, len(points), device=values.device)
    weights.scatter_(-1, (above - 1).unsqueeze(-1), (1 - share).unsqueeze(-1))
    return weights.scatter_(-1, above.unsqueeze(-1), share.unsqueeze(-1))
