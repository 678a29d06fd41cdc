"""How the camera moves: steps are the player's own, wherever he looks."""

from __future__ import annotations

import math

import torch

from tests.models import tiny_map
from worldmodel.learned_map.motion_model import (
    HISTORY,
    MOMENTUM_DIM,
    PARAMETER_SCALE,
    STEP_SCALE,
    YAW_ACTIONS,
    MotionModel,
    add_step,
    last_step,
    step_between,
)

GENERATOR = torch.Generator().manual_seed(0)
KEPT, PUSH, TURN = 0.9, 0.002, 0.1


def tiny_motion_model() -> MotionModel:
    return tiny_map().motion_model


@torch.no_grad()
def walker(*, tics: int = 4) -> MotionModel:
    """Return a model in which action 0 thrusts ahead and action 1 turns to the left, without walls."""
    motion_model = tiny_motion_model()
    motion_model.tics = tics
    for key in motion_model.action_parameters:
        torch.nn.init.zeros_(key)
    motion_model.drag_logit.fill_(math.log(KEPT / (1 - KEPT)) / PARAMETER_SCALE)
    motion_model.thrust[0, 0] = PUSH * tics**2 / (PARAMETER_SCALE * STEP_SCALE[0])
    count = len(motion_model.thrust)
    motion_model.yaw[1] = TURN / 2 / (PARAMETER_SCALE * STEP_SCALE[2])
    motion_model.yaw_by_history.view(count, count, count)[:, :, 1] = motion_model.yaw[1]
    motion_model.stop_speed.fill_(PUSH / 10)
    return motion_model


def going(ahead: float, left: float) -> torch.Tensor:
    """Return the momentum of a velocity."""
    return torch.tensor([[4 * ahead, 4 * left, ahead, left]])


def always(action: int) -> torch.Tensor:
    return torch.full((1, HISTORY), action)


def test_a_step_leads_from_one_pose_to_the_other() -> None:
    """What lies between two poses, done at the first, ends at the second; turns are the shorter way round."""
    before, after = (4 * torch.randn(8, 3, generator=GENERATOR) for _ in range(2))
    steps = step_between(before, after)
    assert steps[:, 2].abs().max() <= math.pi
    found = add_step(before, steps)
    torch.testing.assert_close(found[:, :2], after[:, :2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[:, 2].cos(), after[:, 2].cos(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[:, 2].sin(), after[:, 2].sin(), atol=1e-5, rtol=1e-5)


def test_a_momentum_is_the_step_in_the_axes_after_it() -> None:
    """It begins with the step that was taken, turned into the view that the step leads to."""
    poses = torch.randn(4, 3, generator=GENERATOR)
    after, momenta = tiny_motion_model()(
        poses, torch.zeros(4, HISTORY, dtype=torch.int64), torch.zeros(4, MOMENTUM_DIM)
    )
    torch.testing.assert_close(momenta[:, :2], last_step(poses, after), atol=1e-5, rtol=1e-4)
    north, west = torch.tensor([[0.0, 0.0, math.pi / 2]]), torch.tensor([[0.0, 1.0, math.pi]])
    torch.testing.assert_close(last_step(north, west), torch.tensor([[0.0, -1.0]]), atol=1e-6, rtol=0)


def test_a_player_has_inertia() -> None:
    """Each tic thrust is added, the place moves, and drag leaves a share of the velocity; without thrust it glides."""
    motion_model, pose = walker(), torch.tensor([[0.1, -0.2, math.pi / 2]])
    speed, place = 0.004, 0.0
    after, momentum = motion_model(pose, always(0), going(speed, 0.0))
    for _ in range(4):
        speed += PUSH
        place, speed = place + speed, speed * KEPT
    torch.testing.assert_close(after, pose + torch.tensor([[0.0, place, 0.0]]))
    torch.testing.assert_close(momentum, torch.tensor([[place, 0.0, speed, 0.0]]), atol=1e-7, rtol=1e-4)
    glided, _ = motion_model(pose, always(2), going(0.0, 0.004))
    torch.testing.assert_close(glided[0, 0], torch.tensor(0.1 - 0.004 * sum(KEPT**tic for tic in range(4))))


def test_a_slow_player_without_thrust_stops() -> None:
    """Friction alone would never stop him; a push, however little it has done yet, keeps him going."""
    motion_model, pose = walker(), torch.zeros(1, 3)
    slow = 0.9 * motion_model.stop_speed.item()
    after, momentum = motion_model(pose, always(2), going(slow, 0.0))
    torch.testing.assert_close(after[0, 0], torch.tensor(slow))  # one tic
    assert (momentum[0, 2:] == 0).all()
    assert motion_model(pose, always(0), going(slow, 0.0))[1][0, 2] > PUSH
    assert motion_model(pose, always(2), going(0.0, 9 * slow))[1][0, 3] > slow


def test_turns_follow_from_the_last_three_actions() -> None:
    """The view turns evenly over the tics, thrust with it; the momentum is in the axes after the turn."""
    motion_model, pose = walker(), torch.zeros(1, 3)
    after, momentum = motion_model(pose, always(1), going(0.004, 0.0))
    assert abs(after[0, 2].item() - TURN) < 1e-6
    assert after[0, 1].abs() < 1e-6  # nobody pushed
    torch.testing.assert_close(momentum[0, 3], -0.004 * KEPT**4 * torch.tensor(TURN).sin(), atol=1e-7, rtol=1e-4)
    with torch.no_grad():
        torch.nn.init.normal_(motion_model.yaw_by_history, generator=GENERATOR)
    usual = motion_model.yaw_step(always(2))
    for lag in range(HISTORY):
        other = always(2)
        other[0, lag] = -1
        assert torch.equal(motion_model.yaw_step(other), usual) == (lag < HISTORY - YAW_ACTIONS)


def test_a_speed_is_measured() -> None:
    """Two poses and the action between them tell the speed, unless something was in the way."""
    motion_model = walker()
    with torch.no_grad():
        torch.nn.init.normal_(motion_model.thrust, std=0.5, generator=GENERATOR)
        motion_model.stop_speed.fill_(0.0)
    poses = torch.rand(16, 3, generator=GENERATOR) - 0.5
    history = torch.randint(-1, 3, (16, HISTORY), generator=GENERATOR)
    momenta = torch.cat([torch.zeros(16, 2), 0.002 * torch.randn(16, 2, generator=GENERATOR)], dim=1)
    after, momenta = motion_model(poses, history, momenta)
    torch.testing.assert_close(motion_model.momentum_between(poses, after, history), momenta, atol=2e-6, rtol=1e-3)
    thrown = motion_model.momentum_between(poses, poses + torch.tensor([9.0, 0.0, 0.0]), history)[:, 2:].norm(dim=1)
    fastest = motion_model.thrust_step(torch.arange(len(motion_model.thrust))).norm(dim=1).max() / (1 - KEPT)
    torch.testing.assert_close(thrown, fastest.expand(16))


def test_walls_stop_a_step() -> None:
    """Each tic ends at a wall at the latest, and a place within one is moved out of it first."""
    motion_model = walker()
    visited = torch.rand(2000, 2, generator=GENERATOR) * 0.8 - 0.4
    ends = torch.tensor([-0.4, 0.4])
    motion_model.collision.build(ends, ends, visited, near=1e-4)
    pose, momentum = torch.tensor([[0.38, 0.0, math.pi / 4]]), going(0.006, 0.0)
    for _ in range(3):
        before = pose
        pose, momentum = motion_model(pose, always(0), momentum)
        assert pose[0, 0] < 0.4
        assert pose[0, 1] > before[0, 1] + 0.01
    assert pose[0, 0] > 0.399
    inside, _ = motion_model(torch.tensor([[0.41, 0.0, 0.0]]), always(2), torch.zeros(1, MOMENTUM_DIM))
    torch.testing.assert_close(inside[0, :2], torch.tensor([0.4, 0.0]), atol=1e-4, rtol=0)


def test_steps_are_as_the_player_sees_them() -> None:
    """Ahead is the heading, left is counterclockwise of it."""
    north = torch.tensor([[0.0, 0.0, math.pi / 2]])
    ahead, left = (add_step(north, torch.tensor([step])) for step in ([0.1, 0.0, 0.0], [0.0, 0.1, 0.2]))
    torch.testing.assert_close(ahead, torch.tensor([[0.0, 0.1, math.pi / 2]]))
    torch.testing.assert_close(left, torch.tensor([[-0.1, 0.0, math.pi / 2 + 0.2]]))
