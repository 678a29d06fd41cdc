"""What is known of a player's pose and speed, from where he was seen in one frame after the other: a Kalman filter.

One view tells where he is to about a unit. But he has inertia, and what his keys do is known: after five steps an
eighth of the speed that he began with is left, and all views so far tell of the same way. So they are worth more
together than each alone, and the speed above all.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..runtime import single_precision
from ..types import NO_ACTION
from .ego_motion import TURNED, EgoMotion, shorter_turn, turn

STATE_DIM = 5  # x, y, heading, and the speed along x and along y
LOST = (1.0, 1.0, 3.0, 0.009, 0.009)  # standard deviations: of who may be anywhere and in any hurry
VIEW_ERROR = (0.005, 0.005, 0.015)  # of a pose that a view was found from
CLOSE_VIEW_ERROR = (0.0017, 0.0017, 0.006)  # the same by a closer look
STEP_ERROR = (0.0003, 0.0003, 0.0005, 0.0001, 0.0001)  # of a step that is reckoned
UNTOLD_TURN = 0.3  # share of a turn that is not known if not all actions are told that it depends on


def lost(like: Tensor) -> Tensor:
    """Return the covariance of a player of whom nothing is known: (STATE_DIM STATE_DIM)."""
    return torch.diag(like.new_tensor(LOST).square())


def step_on(
    ego_motion: EgoMotion, poses: Tensor, told: Tensor, momenta: Tensor, errors: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return poses, momenta and errors one step later. See `EgoMotion`.

    How an error grows is seen from steps that begin a standard deviation off, to both sides.

    Args:
        ego_motion: that says where a step leads.
        poses: (m 3).
        told: (m HISTORY).
        momenta: (m MOMENTUM_DIM).
        errors: (m STATE_DIM STATE_DIM), covariances.
    """
    m = len(poses)
    off = errors.diagonal(dim1=1, dim2=2).clamp(min=1e-12).sqrt().clamp(max=errors.new_tensor(LOST) / 20)
    sides = torch.stack([off, -off], dim=1).unsqueeze(2) * torch.eye(STATE_DIM).to(off)
    sides = F.pad(sides.flatten(1, 2), (0, 0, 1, 0))  # m 11 5, the first as it is
    speed = turn(momenta[:, 2:], poses[:, 2]).unsqueeze(1) + sides[..., 3:]
    begun = (poses.unsqueeze(1) + sides[..., :3]).flatten(0, 1)
    rows = momenta[:, :2].repeat_interleave(sides.shape[1], 0)
    rows = torch.cat([rows, turn(speed.flatten(0, 1), -begun[:, 2])], dim=-1)
    ended, after = ego_motion(begun, told.repeat_interleave(sides.shape[1], 0), rows)
    state = torch.cat([ended, turn(after[:, 2:], ended[:, 2])], dim=-1).unflatten(0, (m, -1))
    high, low = state[:, 1:].chunk(2, dim=1)
    with single_precision(poses.device):
        slopes = ((high - low) / (2 * off).unsqueeze(-1)).mT
        grown = slopes @ errors @ slopes.mT + torch.diag(errors.new_tensor(STEP_ERROR).square())
    untold = (told[:, -TURNED:] == NO_ACTION).any(1).to(grown.dtype)
    grown[:, 2, 2] += untold * (UNTOLD_TURN * ego_motion.turned(told)).square()
    after = after.unflatten(0, (m, -1))[:, 0]
    return ended.unflatten(0, (m, -1))[:, 0], after, grown


def seen(
    poses: Tensor, expected: Tensor, momenta: Tensor, errors: Tensor, *, closely: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return poses, momenta and errors after views were found.

    A view that is farther off than is likely says that all of it was known less well than was thought.

    Args:
        poses: (m 3), of the views.
        expected: (m 3), of the same before; nan where nothing was expected.
        momenta: (m MOMENTUM_DIM), likewise.
        errors: (m STATE_DIM STATE_DIM), of what was expected.
        closely: whether the views were found by a closer look.
    """
    noise = torch.diag(poses.new_tensor(CLOSE_VIEW_ERROR if closely else VIEW_ERROR).square())
    known = expected.isfinite().all(-1, keepdim=True)
    expected = torch.where(known, expected, poses)
    off = torch.cat([(poses - expected)[:, :2], shorter_turn((poses - expected)[:, 2:])], dim=-1)
    with single_precision(poses.device):
        within = errors[:, :3, :3] + noise
        gain = torch.linalg.solve(within, errors[:, :3]).mT
        change = (gain @ off.unsqueeze(-1)).squeeze(-1)
        less = errors - gain @ errors[:, :3]
        surprise = (off * torch.linalg.solve(within, off)).sum(-1) / off.shape[1]
        less = surprise.clamp(min=1).view(-1, 1, 1) * (less + less.mT) / 2
    found = expected + change[:, :3]
    speed = turn(momenta[:, 2:], expected[:, 2]) + change[:, 3:]
    step = momenta[:, :2] + turn(change[:, :2], -found[:, 2])
    return found, torch.cat([step, turn(speed, -found[:, 2])], dim=-1), less
