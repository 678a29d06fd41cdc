"""Place recognition: poses as logits over points and headings, and proposals made of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tests.learned_map.test_particle_filter import logits_at
from worldmodel.learned_map.place_recognition import (
    HEADINGS,
    POINTS,
    PoseLogits,
    neighbourhood_log_probability,
    propose,
    two_hot_nll,
)

GENERATOR = torch.Generator().manual_seed(0)


def somewhere(number: int) -> Tensor:
    """Poses anywhere on the map, one of them in its corner, headings also beyond a full turn."""
    poses = torch.rand(number, 3, generator=GENERATOR) * torch.tensor([2.0, 2.0, 4 * math.pi])
    poses -= torch.tensor([1.0, 1.0, 2 * math.pi])
    poses[0] = torch.tensor([1.0, -1.0, 0.0])
    return poses


def turn(away: Tensor) -> Tensor:
    return torch.remainder(away + math.pi, 2 * math.pi) - math.pi


def test_the_likeliest_pose_is_the_one_that_was_learnt() -> None:
    """Logits that cost least tell a pose to a small part of the way between two points, around the circle as well."""
    poses = somewhere(16)
    where = PoseLogits(torch.zeros(16, POINTS**2, requires_grad=True), torch.zeros(16, HEADINGS, requires_grad=True))
    optimizer = torch.optim.Adam(list(where), lr=0.3)
    for _ in range(300):
        optimizer.zero_grad()
        (16 * two_hot_nll(where, poses)).backward()
        optimizer.step()
    found, logs = propose(PoseLogits(*(part.detach() for part in where)), 3)
    away = found[:, 0] - poses
    assert away[:, :2].abs().max() < 1e-3
    assert turn(away[:, 2]).abs().max() < 1e-3
    assert (logs.diff(dim=1) <= 0).all()


def test_proposals_are_the_likeliest_pairs() -> None:
    """Of two places and two headings all four pairs, the likeliest first; each with its log probability."""
    angle = 12 * 2 * math.pi / HEADINGS
    where = logits_at((0.5, -0.5, angle), (-0.8, 0.9, 4.0))
    poses, logs = propose(where, 4)
    pairs = {(round(float(x), 1), round(float(angle), 1)) for x, _, angle in poses[0]}
    assert len(pairs) == 4
    torch.testing.assert_close(poses[0, 0], torch.tensor([0.5, -0.5, angle]), atol=0.04, rtol=0)
    assert (logs.diff() <= 0).all()
    near = neighbourhood_log_probability(where, poses)[0]
    assert near[0] > -1.0
    assert (near.diff() < 0.01).all()
    assert (neighbourhood_log_probability(where, torch.tensor([[[0.0, 0.0, 2.5]]])) < -9).all()


def test_a_pose_is_the_mean_of_the_points_around_it_alone() -> None:
    """Logits far from the likeliest point do not move the pose; it may lie in any corner."""
    place = torch.full((4, POINTS, POINTS), -20.0)
    corners = [(0, 0), (0, POINTS - 1), (POINTS - 1, 0), (POINTS - 1, POINTS - 1)]
    for logits, (row, column) in zip(place, corners, strict=True):
        logits[row, column] = 9.0
        logits[POINTS // 2, POINTS // 2] = 8.9
    heading = torch.full((4, HEADINGS), -20.0)
    heading[:, 0] = 9.0
    found = propose(PoseLogits(place.flatten(1), heading), 1)[0][:, 0]
    want = torch.tensor([[2.0 * row / (POINTS - 1) - 1, 2.0 * column / (POINTS - 1) - 1] for row, column in corners])
    torch.testing.assert_close(found[:, :2], want)
    torch.testing.assert_close(turn(found[:, 2]), torch.zeros(4))
