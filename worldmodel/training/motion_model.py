"""Fit a motion model to recorded poses: thrust, yaw and drag under each action, and where walls are.

Where nothing is in the way, a step follows exactly from a few numbers. These are fitted to all walks, then to those
that they explain best; walls are where players were pushed and did not move.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, optim

from ..config import TrainingConfig
from ..learned_map.collision import LINES
from ..learned_map.motion_model import HISTORY, STEP_SCALE, MotionModel, rotate, wrap_angle
from ..types import UNKNOWN_ACTION
from .data import Windows, with_progress

STEPS, STEPS_A_MINUTE = 300, 40  # at most, and of the training that follows: a twentieth of its time
WALKS, WALKED = 256, 3  # at once, and steps of each
RATE = 3e-3
ACTION_DROPOUT = 0.1  # of the walks
FREE_SHARE = 0.7  # of the walks: those that are explained best, in the second half of the fit
BLOCKED = 0.03  # of the way that thrust alone leads: a player who gets no farther along an axis was stopped
MIN_THRUST = 0.1  # of the strongest thrust, at least, leads across a line that stops a player
TOUCHES = 5  # of a line, at least


def fit_steps(training: TrainingConfig) -> int:
    """Return how many steps to fit the motion model before a run of so many minutes; see `optical_flow.fit_steps`."""
    return int(min(STEPS, training.flow_steps, STEPS_A_MINUTE * training.minutes))


def fit_motion_model(
    motion_model: MotionModel,
    tracks: Sequence[Tensor],
    actions: Sequence[np.ndarray],
    *,
    seed: int,
    steps: int,
    signals: Sequence[int] = (),
    visible: bool = False,
) -> None:
    """Fit what actions and drag do, and find where walls are.

    Args:
        motion_model: changed in place.
        tracks: the poses (n 3) of each episode's frames.
        actions: (n-1) of each, between them.
        seed: of what is drawn.
        steps: of the optimizer.
        signals: those that came so far; one of them ends the fit.
        visible: whether to show the progress, on stderr.

    Raises:
        Stopped: when a signal came.
    """
    device = motion_model.thrust.device
    lengths = np.array([len(track) for track in tracks])
    count = min(WALKED, int(lengths.max()) - HISTORY)
    if count < 1:
        return
    windows = Windows.over(lengths, np.arange(len(tracks)), clip=HISTORY + count)
    for parameter in motion_model.action_parameters:
        parameter.requires_grad_(True)
    optimizer = optim.Adam(motion_model.action_parameters, lr=RATE, betas=(0.9, 0.95), eps=1e-12)
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 - step / steps) ** 1.5)
    rng = np.random.default_rng([seed, 2])
    for step in with_progress(range(steps), "fitting the motion model", visible=visible, signals=signals):
        places = windows.draw(rng, WALKS)
        history = torch.from_numpy(np.stack([actions[e][start : start + HISTORY + count - 1] for e, start in places]))
        history[torch.from_numpy(rng.random(len(places)) < ACTION_DROPOUT)] = UNKNOWN_ACTION
        poses = torch.stack([tracks[e][start + HISTORY - 2 : start + HISTORY + count] for e, start in places])
        errors = walk_errors(motion_model, history.long().to(device), poses.to(device)).abs().mean((0, 2))
        if step >= steps / 2:
            errors = errors.topk(int(FREE_SHARE * len(errors)), largest=False).values
        optimizer.zero_grad()
        errors.mean().backward()
        optimizer.step()
        schedule.step()
    motion_model.zero_grad(set_to_none=True)
    for parameter in motion_model.action_parameters:
        parameter.requires_grad_(False)
    find_walls(motion_model, tracks, actions)


def walk_errors(motion_model: MotionModel, history: Tensor, poses: Tensor) -> Tensor:
    """Return how far off poses are after dead reckoning, step by step, in units of STEP_SCALE: (k n 3).

    Args:
        motion_model: predicts the steps.
        history: (n HISTORY+k-1), the actions around the steps.
        poses: (n k+2 3), before the step before, before the first step, and after each.
    """
    momenta = motion_model.momentum_between(poses[:, 0], poses[:, 1], history[:, : HISTORY - 1])
    here, errors = poses[:, 1], []
    for k in range(poses.shape[1] - 2):
        here, momenta = motion_model(here, history[:, k : k + HISTORY], momenta)
        away = here - poses[:, k + 2]
        errors.append(torch.cat([away[:, :2], wrap_angle(away[:, 2:])], dim=-1) / away.new_tensor(STEP_SCALE))
    return torch.stack(errors)


@torch.no_grad()
def find_walls(motion_model: MotionModel, tracks: Sequence[Tensor], actions: Sequence[np.ndarray]) -> None:
    """Find the lines on which players were pushed across them and did not move, and the cells that nobody entered.

    Of all who were stopped on a line, the one who got farthest says where it is.
    """
    device = motion_model.thrust.device
    touches: list[list[Tensor]] = [[], [], [], []]  # where players were stopped: low and high x, low and high y
    near = motion_model.thrust_step(torch.arange(len(motion_model.thrust), device=device)).norm(dim=-1).max().item()
    for track, taken in zip(tracks, actions, strict=True):
        thrust = motion_model.thrust_step(torch.from_numpy(taken).long().to(device)).to(track)
        wanted = motion_model.tics * rotate(thrust, track[1:, 2])
        went = track[1:, :2] - track[:-1, :2]
        stopped = (went.abs() < BLOCKED * wanted.abs()) & (wanted.abs() > MIN_THRUST * motion_model.tics * near)
        stopped &= ~stopped.all(-1, keepdim=True)  # a player stuck in a corner may be anywhere near it
        for number, at in enumerate(touches):
            axis, side = number // 2, 2 * (number % 2) - 1
            there = stopped[:, axis] & (wanted[:, axis].sign() == side)
            at.append(track[1:, axis][there])
    lines: list[Tensor] = []
    for axis in range(2):
        ends: list[tuple[float, int]] = []
        for side, parts in zip((-1, 1), touches[2 * axis :], strict=False):
            stops = _groups(torch.cat(parts), near / 4, side)
            ends += [(farthest, many) for farthest, many in stops if many >= TOUCHES]
        most = sorted(ends, key=lambda end: end[1])[-LINES:]
        places = torch.tensor([place for place, _ in most], dtype=tracks[0].dtype)
        lines.append(torch.tensor([place for place, _ in _groups(places, near / 4, 0)]))
    visited = torch.cat([track[:, :2] for track in tracks])
    motion_model.collision.build(lines[0], lines[1], visited, near=near / 10)


def _groups(numbers: Tensor, near: float, side: int) -> list[tuple[float, int]]:
    """Return groups of numbers (n) that are `near` one another, rising: the greatest of each, and how many they are.

    The least instead, if `side` is -1, and their mean if it is 0.
    """
    rising = numbers.sort().values
    cuts = (rising.diff() > near).nonzero().flatten() + 1
    groups = [group for group in rising.tensor_split(cuts.cpu()) if len(group)]
    ends = [group.mean() if side == 0 else group[0 if side < 0 else -1] for group in groups]
    return [(end.item(), len(group)) for end, group in zip(ends, groups, strict=True)]
