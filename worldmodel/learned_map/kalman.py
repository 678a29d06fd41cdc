"""An extended Kalman filter of a player's pose and velocity, over views found in one frame after the other.

One view tells a pose to about a unit. But the player has inertia, and what his actions do is known: after five steps an
eighth of his first velocity is left, and all views so far are of one path. Together they are worth more than each
alone, for the velocity above all.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..runtime import single_precision
from ..types import UNKNOWN_ACTION
from .motion_model import YAW_ACTIONS, MotionModel, rotate, wrap_angle

STATE_DIM = 5  # x, y, heading, and the velocity along x and along y
INITIAL_STD = (1.0, 1.0, 3.0, 0.009, 0.009)  # of a player of whom nothing is known
VIEW_STD = (0.005, 0.005, 0.015)  # of a pose that was found from a view
CLOSE_VIEW_STD = (0.0017, 0.0017, 0.006)  # the same after a close look
STEP_STD = (0.0003, 0.0003, 0.0005, 0.0001, 0.0001)  # of a step of the motion model
UNKNOWN_YAW_SHARE = 0.3  # of the yaw that is unknown if one of the actions that it depends on is unknown


def initial_covariance(like: Tensor) -> Tensor:
    """Return the covariance of a player of whom nothing is known: (STATE_DIM STATE_DIM)."""
    return torch.diag(like.new_tensor(INITIAL_STD).square())


def ekf_predict(
    motion_model: MotionModel, poses: Tensor, history: Tensor, momenta: Tensor, covariances: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return poses, momenta and covariances one step later. See `MotionModel`.

    The Jacobian is found by central differences: steps that begin a standard deviation off, to both sides.

    Args:
        motion_model: gives the mean.
        poses: (m 3).
        history: (m HISTORY), actions.
        momenta: (m MOMENTUM_DIM).
        covariances: (m STATE_DIM STATE_DIM).
    """
    m = len(poses)
    std = (
        covariances.diagonal(dim1=1, dim2=2).clamp(min=1e-12).sqrt().clamp(max=covariances.new_tensor(INITIAL_STD) / 20)
    )
    sides = torch.stack([std, -std], dim=1).unsqueeze(2) * torch.eye(STATE_DIM).to(std)
    sides = F.pad(sides.flatten(1, 2), (0, 0, 1, 0))  # m 11 5, the first as it is
    velocity = rotate(momenta[:, 2:], poses[:, 2]).unsqueeze(1) + sides[..., 3:]
    starts = (poses.unsqueeze(1) + sides[..., :3]).flatten(0, 1)
    rows = momenta[:, :2].repeat_interleave(sides.shape[1], 0)
    rows = torch.cat([rows, rotate(velocity.flatten(0, 1), -starts[:, 2])], dim=-1)
    ends, after = motion_model(starts, history.repeat_interleave(sides.shape[1], 0), rows)
    state = torch.cat([ends, rotate(after[:, 2:], ends[:, 2])], dim=-1).unflatten(0, (m, -1))
    high, low = state[:, 1:].chunk(2, dim=1)
    with single_precision(poses.device):
        jacobian = ((high - low) / (2 * std).unsqueeze(-1)).mT
        predicted = jacobian @ covariances @ jacobian.mT + torch.diag(covariances.new_tensor(STEP_STD).square())
    unknown = (history[:, -YAW_ACTIONS:] == UNKNOWN_ACTION).any(1).to(predicted.dtype)
    predicted[:, 2, 2] += unknown * (UNKNOWN_YAW_SHARE * motion_model.yaw_step(history)).square()
    after = after.unflatten(0, (m, -1))[:, 0]
    return ends.unflatten(0, (m, -1))[:, 0], after, predicted


def ekf_update(
    poses: Tensor, predicted: Tensor, momenta: Tensor, covariances: Tensor, *, close: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return poses, momenta and covariances after views were found.

    A view that is farther off than is likely raises the covariance of everything.

    Args:
        poses: (m 3), of the views.
        predicted: (m 3), of the same before; nan where nothing was predicted.
        momenta: (m MOMENTUM_DIM), likewise.
        covariances: (m STATE_DIM STATE_DIM), of what was predicted.
        close: whether the views were found by a close look.
    """
    noise = torch.diag(poses.new_tensor(CLOSE_VIEW_STD if close else VIEW_STD).square())
    known = predicted.isfinite().all(-1, keepdim=True)
    predicted = torch.where(known, predicted, poses)
    innovation = torch.cat([(poses - predicted)[:, :2], wrap_angle((poses - predicted)[:, 2:])], dim=-1)
    with single_precision(poses.device):
        innovation_covariance = covariances[:, :3, :3] + noise
        gain = torch.linalg.solve(innovation_covariance, covariances[:, :3]).mT
        change = (gain @ innovation.unsqueeze(-1)).squeeze(-1)
        less = covariances - gain @ covariances[:, :3]
        surprise = (innovation * torch.linalg.solve(innovation_covariance, innovation)).sum(-1) / innovation.shape[1]
        less = surprise.clamp(min=1).view(-1, 1, 1) * (less + less.mT) / 2
    found = predicted + change[:, :3]
    velocity = rotate(momenta[:, 2:], predicted[:, 2]) + change[:, 3:]
    step = momenta[:, :2] + rotate(change[:, :2], -found[:, 2])
    return found, torch.cat([step, rotate(velocity, -found[:, 2])], dim=-1), less
