"""How the camera moves: steps are the player's own, wherever he looks."""

from __future__ import annotations

import math

import torch

from tests.models import tiny_dynamics
from worldmodel.dynamics.ego_motion import (
    HIDDEN_DIM,
    HISTORY,
    MOMENTUM_DIM,
    EgoMotion,
    last_step,
    momenta_of,
    moved,
    step_between,
)

GENERATOR = torch.Generator().manual_seed(0)


def tiny_ego_motion() -> EgoMotion:
    belief = tiny_dynamics().belief
    assert belief is not None
    return belief.ego_motion


def test_a_step_leads_from_one_pose_to_the_other() -> None:
    """What lies between two poses, done at the first, ends at the second; turns are the shorter way round."""
    before, after = (4 * torch.randn(8, 3, generator=GENERATOR) for _ in range(2))
    steps = step_between(before, after)
    assert steps[:, 2].abs().max() <= math.pi
    found = moved(before, steps)
    torch.testing.assert_close(found[:, :2], after[:, :2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[:, 2].cos(), after[:, 2].cos(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[:, 2].sin(), after[:, 2].sin(), atol=1e-5, rtol=1e-5)


def test_a_momentum_is_the_step_as_it_is_seen_afterwards() -> None:
    """After a turn to the left, what was a step ahead has led to the right. It is known once all actions were told."""
    ego_motion = tiny_ego_motion()
    poses, told = torch.randn(4, 3, generator=GENERATOR), torch.zeros(4, HISTORY, dtype=torch.int64)
    told[3, 0] = -1
    after, momenta = ego_motion(poses, told, torch.zeros(4, MOMENTUM_DIM))
    torch.testing.assert_close(momenta[:, :2], last_step(poses, after), atol=1e-5, rtol=1e-4)
    assert momenta[:, 2].tolist() == [1, 1, 1, 0]
    _, momenta = ego_motion(after, told, momenta_of(last_step(poses, after)))
    assert (momenta[:, 2] == 1).all()
    north, west = torch.tensor([[0.0, 0.0, math.pi / 2]]), torch.tensor([[0.0, 1.0, math.pi]])
    torch.testing.assert_close(last_step(north, west), torch.tensor([[0.0, -1.0]]), atol=1e-6, rtol=0)


def test_steps_are_as_the_player_sees_them() -> None:
    """Ahead is where he looks, left is counterclockwise of it."""
    north = torch.tensor([[0.0, 0.0, math.pi / 2]])
    ahead, left = (moved(north, torch.tensor([step])) for step in ([0.1, 0.0, 0.0], [0.0, 0.1, 0.2]))
    torch.testing.assert_close(ahead, torch.tensor([[0.0, 0.1, math.pi / 2]]))
    torch.testing.assert_close(left, torch.tensor([[-0.1, 0.0, math.pi / 2 + 0.2]]))


def test_a_step_depends_on_every_told_action_on_the_place_and_on_the_momentum() -> None:
    """Each action of the history counts, which is told and which is not too; so do place, heading and momentum."""
    ego_motion = tiny_ego_motion()
    torch.nn.init.normal_(ego_motion.walls[-1].weight, std=0.1, generator=GENERATOR)
    poses = torch.tensor([[0.2, -0.3, 0.5]])
    told = torch.zeros(1, HISTORY, dtype=torch.int64)
    momentum = momenta_of(torch.tensor([[0.05, 0.0]]))

    def step(poses: torch.Tensor, told: torch.Tensor, momentum: torch.Tensor) -> torch.Tensor:
        return step_between(poses, ego_motion(poses, told, momentum)[0])

    usual = step(poses, told, momentum)
    for lag in range(HISTORY):
        for action in (1, -1):
            other = told.clone()
            other[0, lag] = action
            assert not torch.allclose(step(poses, other, momentum), usual)
    for axis in range(3):
        other = poses.clone()
        other[0, axis] += 0.1
        assert not torch.allclose(step(other, told, momentum), usual)
    for part in range(3, 3 + HIDDEN_DIM):
        other = momentum.clone()
        other[0, part] = 0.5
        assert not torch.allclose(step(poses, told, other), usual)
    faster, unknown = momentum.clone(), momentum.clone()
    faster[:, :2] *= 2
    unknown[:, 2] = 0
    assert not torch.allclose(step(poses, told, faster), usual)
    assert torch.equal(
        step(poses, told, unknown), step(poses, told, faster * torch.tensor([1.0, 1, 0] + [1] * HIDDEN_DIM))
    )
    full_turn = step(poses + torch.tensor([0.0, 0.0, 2 * math.pi]), told, momentum)
    torch.testing.assert_close(full_turn, usual, atol=1e-5, rtol=1e-4)


def test_walls_are_where_they_are_however_one_looks() -> None:
    """The same way on the map leads to the same place: walking ahead to the north, or to the left facing east."""
    ego_motion = tiny_ego_motion()
    torch.nn.init.normal_(ego_motion.walls[-1].weight, std=0.1, generator=GENERATOR)
    for layer in (ego_motion.free[0], ego_motion.free[-1]):
        torch.nn.init.zeros_(layer.weight)  # nobody does anything: only the momentum leads on
        torch.nn.init.zeros_(layer.bias)
    told = torch.zeros(1, HISTORY, dtype=torch.int64)
    north, east = (torch.tensor([[0.2, -0.3, angle]]) for angle in (math.pi / 2, 0.0))
    ahead, left = (momenta_of(torch.tensor([step])) for step in ([0.02, 0.0], [0.0, 0.02]))
    found = [ego_motion(pose, told, momentum)[0][:, :2] for pose, momentum in ((north, ahead), (east, left))]
    torch.testing.assert_close(*found, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(found[0], north[:, :2])
