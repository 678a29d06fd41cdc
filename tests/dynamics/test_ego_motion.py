"""How the camera moves: steps are the player's own, wherever he looks."""

from __future__ import annotations

import math

import torch

from tests.models import tiny_dynamics
from worldmodel.dynamics.belief import last_step
from worldmodel.dynamics.ego_motion import HISTORY, EgoMotion, moved, step_back, step_between

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


def test_a_step_back_undoes_a_step() -> None:
    """Whatever the step and wherever one looks."""
    before, steps = (torch.randn(8, 3, generator=GENERATOR) for _ in range(2))
    torch.testing.assert_close(step_back(moved(before, steps), steps), before, atol=1e-5, rtol=1e-5)


def test_what_is_last_is_the_step_as_it_is_seen_afterwards() -> None:
    """After a turn to the left, what was a step ahead has led to the right."""
    ego_motion = tiny_ego_motion()
    poses, told = torch.randn(4, 3, generator=GENERATOR), torch.zeros(4, HISTORY, dtype=torch.int64)
    after, last = ego_motion(poses, told, torch.zeros(4, 2))
    torch.testing.assert_close(last, last_step(poses, after), atol=1e-5, rtol=1e-4)
    north, west = torch.tensor([[0.0, 0.0, math.pi / 2]]), torch.tensor([[0.0, 1.0, math.pi]])
    torch.testing.assert_close(last_step(north, west), torch.tensor([[0.0, -1.0]]), atol=1e-6, rtol=0)


def test_steps_are_as_the_player_sees_them() -> None:
    """Ahead is where he looks, left is counterclockwise of it."""
    north = torch.tensor([[0.0, 0.0, math.pi / 2]])
    ahead, left = (moved(north, torch.tensor([step])) for step in ([0.1, 0.0, 0.0], [0.0, 0.1, 0.2]))
    torch.testing.assert_close(ahead, torch.tensor([[0.0, 0.1, math.pi / 2]]))
    torch.testing.assert_close(left, torch.tensor([[-0.1, 0.0, math.pi / 2 + 0.2]]))


def test_a_step_depends_on_every_told_action_and_on_the_place() -> None:
    """Each action of the history counts, which is told and which is not too; so do place and heading."""
    ego_motion = tiny_ego_motion()
    poses = torch.tensor([[0.2, -0.3, 0.5]])
    told = torch.zeros(1, HISTORY, dtype=torch.int64)
    last = torch.tensor([[0.05, 0.0]])
    usual = ego_motion.step(poses, told, last)
    for lag in range(HISTORY):
        for action in (1, -1):
            other = told.clone()
            other[0, lag] = action
            assert not torch.allclose(ego_motion.step(poses, other, last), usual)
    for axis in range(3):
        other = poses.clone()
        other[0, axis] += 0.1
        assert not torch.allclose(ego_motion.step(other, told, last), usual)
    assert not torch.allclose(ego_motion.step(poses, told, 2 * last), usual)
    untold = told.clone()
    untold[0, 0] = -1  # then the step before is not known either
    assert torch.equal(ego_motion.step(poses, untold, last), ego_motion.step(poses, untold, 2 * last))
    full_turn = ego_motion.step(poses + torch.tensor([0.0, 0.0, 2 * math.pi]), told, last)
    torch.testing.assert_close(full_turn, usual, atol=1e-5, rtol=1e-4)
