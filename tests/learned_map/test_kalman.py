"""What is known of a pose and a speed grows with every view, and is as uncertain as it says."""

from __future__ import annotations

import torch

from tests.learned_map.test_motion_model import KEPT, PUSH, walker
from worldmodel.learned_map.kalman import (
    CLOSE_VIEW_STD,
    INITIAL_STD,
    STATE_DIM,
    STEP_STD,
    VIEW_STD,
    ekf_predict,
    ekf_update,
    initial_covariance,
)
from worldmodel.learned_map.motion_model import HISTORY, MOMENTUM_DIM, rotate

GENERATOR = torch.Generator().manual_seed(0)


def test_a_predicted_step_is_that_of_the_motion_model() -> None:
    """Nothing that is not known changes where a step leads."""
    motion_model = walker()
    poses, momenta = torch.rand(5, 3, generator=GENERATOR), 0.005 * torch.randn(5, MOMENTUM_DIM, generator=GENERATOR)
    history = torch.randint(4, (5, HISTORY), generator=GENERATOR)
    after, went, _ = ekf_predict(motion_model, poses, history, momenta, initial_covariance(poses).expand(5, -1, -1))
    for found, want in zip((after, went), motion_model(poses, history, momenta), strict=True):
        torch.testing.assert_close(found, want)


def test_what_is_not_known_goes_on_with_the_player() -> None:
    """The covariance is that of steps that begin with poses and speeds drawn from the one before, and a little more."""
    motion_model = walker()
    with torch.no_grad():
        motion_model.stop_speed.fill_(0.0)
    spread = torch.tensor([0.01, 0.02, 0.05, 0.002, 0.001])
    mixed = torch.randn(STATE_DIM, STATE_DIM, generator=GENERATOR) * 0.3 + torch.eye(STATE_DIM)
    errors = mixed @ torch.diag(spread.square()) @ mixed.T
    pose, momentum = torch.tensor([[0.1, -0.2, 0.7]]), torch.tensor([[0.0, 0.0, 0.006, 0.002]])
    history = torch.zeros(1, HISTORY, dtype=torch.int64)
    _, _, found = ekf_predict(motion_model, pose, history, momentum, errors.unsqueeze(0))
    n = 50_000
    drawn = torch.randn(n, STATE_DIM, generator=GENERATOR) @ torch.linalg.cholesky(errors).T
    poses = pose + drawn[:, :3]
    speeds = rotate(rotate(momentum[:, 2:], pose[:, 2]) + drawn[:, 3:], -poses[:, 2])
    after, went = motion_model(poses, history.expand(n, -1), torch.cat([torch.zeros(n, 2), speeds], dim=1))
    state = torch.cat([after, rotate(went[:, 2:], after[:, 2])], dim=1)
    want = state.T.cov() + torch.diag(torch.tensor(STEP_STD).square())
    scale = want.diagonal().sqrt()
    torch.testing.assert_close(found[0] / scale / scale[:, None], want / scale / scale[:, None], atol=0.03, rtol=0)


def test_an_unknown_action_makes_the_heading_uncertain() -> None:
    """After actions that never turn the heading is as certain as before; after a turn of unknown length it is not."""
    motion_model, pose = walker(), torch.zeros(1, 3)
    known = torch.diag(torch.full((STATE_DIM,), 1e-8)).unsqueeze(0)
    spreads = {}
    for action in (0, 1):
        for num_unknown in (0, HISTORY - 1):
            history = torch.full((1, HISTORY), action)
            history[:, :num_unknown] = -1
            found = ekf_predict(motion_model, pose, history, torch.zeros(1, MOMENTUM_DIM), known)[2]
            spreads[action, num_unknown] = found[0, 2, 2].sqrt().item()
    assert max(spreads[0, 0], spreads[0, HISTORY - 1], spreads[1, 0]) < 0.001
    assert spreads[1, HISTORY - 1] > 0.01


def test_views_tell_a_pose_and_a_speed() -> None:
    """After a few views of a walk both are known better than any view tells, and about as well as is said."""
    motion_model, n = walker(), 400
    history = torch.zeros(n, HISTORY, dtype=torch.int64)
    true = torch.rand(n, 3, generator=GENERATOR)
    momenta = torch.cat([torch.zeros(n, 2), 0.004 * torch.randn(n, 2, generator=GENERATOR)], dim=1)
    unknown, errors = torch.zeros(n, MOMENTUM_DIM), initial_covariance(true).expand(n, -1, -1)
    expected = torch.full((n, 3), torch.nan)
    off = []
    for step in range(6):
        closely = step > 3
        error = torch.tensor(CLOSE_VIEW_STD if closely else VIEW_STD)
        views = true + error * torch.randn(n, 3, generator=GENERATOR)
        poses, unknown, errors = ekf_update(views, expected, unknown, errors, close=closely)
        speed = rotate(unknown[:, 2:], poses[:, 2]) - rotate(momenta[:, 2:], true[:, 2])
        off.append(torch.cat([poses - true, speed], dim=1))
        if step == 0:
            torch.testing.assert_close(poses, views)  # nothing was expected
        expected, unknown, errors = ekf_predict(motion_model, poses, history, unknown, errors)
        true, momenta = motion_model(true, history, momenta)
    apart = off[-1].square().mean(0).sqrt()
    assert (apart[:2] < 0.75 * CLOSE_VIEW_STD[0]).all()
    assert (apart[3:] < 0.1 * INITIAL_STD[3]).all()
    expected_off = off[-1].square().mean(0) / errors.diagonal(dim1=1, dim2=2).mean(0)
    assert (expected_off[[0, 1, 3, 4]] < 2.0).all()
    assert (off[0][:, 3:].square().mean(0).sqrt() > 0.5 * PUSH / (1 - KEPT) * 0.1).all()  # one view tells no speed


def test_a_surprising_view_raises_the_covariance() -> None:
    """A view about where it was expected makes errors smaller; one far off makes them larger, without it being lost."""
    expected, momentum = torch.tensor([[0.1, 0.2, 0.3]]), torch.zeros(1, MOMENTUM_DIM)
    errors = torch.diag(torch.tensor([1e-6, 1e-6, 1e-5, 1e-6, 1e-6])).unsqueeze(0)
    spreads = []
    for away in (0.0, 0.001, 0.03):
        poses, _, found = ekf_update(expected + away, expected, momentum, errors, close=True)
        assert ((poses - expected) >= 0).all()
        assert ((poses - expected) <= away).all()
        spreads.append(found.diagonal(dim1=1, dim2=2)[0])
    assert torch.equal(spreads[0], spreads[1])
    assert (spreads[1] < errors[0].diagonal() * 1.001).all()
    assert (spreads[2] > 5 * errors[0].diagonal()).all()


def test_a_heading_is_off_by_the_shorter_way() -> None:
    """A view that was found a full turn away was found where it was expected."""
    momentum, errors = torch.zeros(1, MOMENTUM_DIM), 1e-4 * torch.eye(STATE_DIM).unsqueeze(0)
    expected = torch.tensor([[0.1, 0.2, 6.2]])
    found, _, _ = ekf_update(torch.tensor([[0.1, 0.2, 6.2 - 2 * torch.pi]]), expected, momentum, errors, close=False)
    torch.testing.assert_close(found, expected)
