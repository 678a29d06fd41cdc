"""Weights of codes near what moves."""

from __future__ import annotations

import pytest
import torch

from tests.models import tiny_dynamics
from worldmodel.dynamics.activity import NEAR, activity_weights


def test_codes_near_a_change_count_more_and_the_mean_is_one() -> None:
    """Within NEAR codes of what differs from the frame before a code weighs `weight` times another; evenly before."""
    past = torch.zeros(1, 3, 9, 9, dtype=torch.int64)
    past[0, 1:, 4, 4] = 5
    weights = activity_weights(past, 8.0)
    assert weights.mean() == pytest.approx(1.0)
    assert len(weights[0, 0].unique()) == 1
    assert weights[0, 1, 4, 4 + NEAR] / weights[0, 1, 0, 0] == pytest.approx(8.0)
    assert weights[0, 1, 4, 4 + NEAR + 1] == weights[0, 1, 0, 0]
    assert len(weights[0, 2].unique()) == 1  # nothing changed between frames 1 and 2


def test_the_weights_are_of_the_past_alone() -> None:
    """A change in the frame to be predicted moves no weight: the best distribution stays what it is."""
    past = torch.randint(4, (1, 4, 6, 6), generator=torch.Generator().manual_seed(0))
    other = past.clone()
    other[:, -1] = 0
    ratio = activity_weights(past, 8.0)[:, :-1] / activity_weights(other, 8.0)[:, :-1]
    torch.testing.assert_close(ratio, ratio.flatten()[0].expand_as(ratio))


def test_weights_change_what_is_learnt_and_not_what_is_reported() -> None:
    """With a weight the total differs; nll and aux_nll stay the unweighted means."""
    codes = torch.randint(16, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    codes[:, :, :4] = 3  # half of every frame stands still
    actions = torch.zeros(2, 2, dtype=torch.int64)

    def losses(weight: float) -> tuple[float, float, float]:
        model = tiny_dynamics(activity_weight=weight).eval()
        found = model.loss(codes, actions, generator=torch.Generator().manual_seed(0))
        return found.total.item(), found.nll.item(), found.aux_nll.item()

    even, weighted = losses(1.0), losses(8.0)
    assert weighted[1:] == even[1:]
    assert weighted[0] != pytest.approx(even[0], rel=1e-3)
