"""The motion model: where the camera is and the last actions -> where it is after the next step (dead reckoning).

A player has inertia: every tic of the engine an action thrusts him, walls stop him, and drag leaves a share of his
velocity. How strong thrust, yaw and drag are and where walls stand is fitted to recordings
(`training/motion_model.py`), and then holds for steps without end: ten of them are off by a few hundredths of a unit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..dynamics.layers import table
from ..runtime import single_precision
from .collision import CollisionMap
from .config import LearnedMapConfig

HISTORY = 5  # actions
YAW_ACTIONS = 3  # of them, the last, decide the yaw: a key that is held turns faster
MOMENTUM_DIM = 2 + 2
STEP_SCALE = (0.02, 0.02, 0.2)  # of half a map and of a radian: a step's length, about
PARAMETER_SCALE = 20.0  # of thrust, yaw and drag in one unit of what is learnt of them
EPSILON = 1e-6


class MotionModel(nn.Module):
    """Poses and actions -> poses one step later. See `LearnedMap` for what a pose is.

    A momentum (MOMENTUM_DIM) is the step before, and the velocity now, in halves of the map a tic, both ahead and to
    the left as the player looks now.
    """

    stop_speed: Tensor

    def __init__(self, config: LearnedMapConfig) -> None:
        super().__init__()
        self.tics = config.tics_per_step
        actions = len(config.action_names) + 1  # the last for "unknown"
        self.yaw = table(nn.Parameter(torch.zeros(actions)))  # by the last action
        self.yaw_by_history = table(nn.Parameter(torch.zeros(actions**YAW_ACTIONS)))  # and so much more by the last few
        self.thrust = table(nn.Parameter(torch.zeros(actions, 2)))  # ahead and to the left
        self.drag_logit = nn.Parameter(torch.zeros(()))  # of the share of the velocity that is left after a tic
        self.collision = CollisionMap()
        self.register_buffer("stop_speed", torch.zeros(()))  # in halves of the map a tic
        for parameter in self.action_parameters:
            parameter.requires_grad_(False)  # they are fitted before anything else is learnt

    def forward(self, poses: Tensor, history: Tensor, momenta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the poses one step later (m 3), and the momenta there (m MOMENTUM_DIM).

        Args:
            poses: (m 3).
            history: (m HISTORY), the actions before that, the oldest first; -1 where it is unknown.
            momenta: (m MOMENTUM_DIM).
        """
        with single_precision(poses.device):
            poses, momenta = poses.float(), momenta.float()
            heading = poses[:, 2]
            velocity = rotate(momenta[:, 2:], heading)  # in the map's axes
            place, angle = self.collision.nearest_free(poses[:, :2]), self.yaw_step(history)
            thrust = self.thrust_step(history[:, -1])
            unpushed = (thrust.norm(dim=-1) < self.stop_speed).unsqueeze(-1)
            for tic in range(self.tics):
                velocity = velocity + rotate(thrust, heading + angle * ((tic + 1) / self.tics))
                place, velocity = self.collision.move(place, velocity)
                stands = unpushed & (velocity.abs() < self.stop_speed).all(-1, keepdim=True)
                velocity = torch.where(stands, 0.0, velocity * self.drag)
            after = torch.cat([place, (heading + angle).unsqueeze(-1)], dim=-1)
            return after, torch.cat([last_step(poses, after), rotate(velocity, -after[:, 2])], dim=-1)

    @property
    def action_parameters(self) -> list[nn.Parameter]:
        """What is learnt of actions and of drag."""
        return [self.yaw, self.yaw_by_history, self.thrust, self.drag_logit]

    @property
    def drag(self) -> Tensor:
        """Return the share of a velocity that is left after a tic."""
        return (PARAMETER_SCALE * self.drag_logit).sigmoid()

    def thrust_step(self, actions: Tensor) -> Tensor:
        """Return what actions (m) add to the velocity in a tic, ahead and to the left: (m 2)."""
        return self.thrust[actions] * (PARAMETER_SCALE * STEP_SCALE[0] / self.tics**2)

    def yaw_step(self, history: Tensor) -> Tensor:
        """Return by how much the player turns in a step, counterclockwise, after actions (m k): (m)."""
        count = len(self.thrust)
        number = torch.zeros_like(history[:, 0])
        for action in history[:, -YAW_ACTIONS:].unbind(1):
            number = number * count + action % count
        return (self.yaw[history[:, -1]] + self.yaw_by_history[number]) * (PARAMETER_SCALE * STEP_SCALE[2])

    def momentum_between(self, before: Tensor, poses: Tensor, history: Tensor) -> Tensor:
        """Return the momenta (m MOMENTUM_DIM) after steps from poses to poses (m 3), if nothing was in the way.

        Args:
            before: (m 3).
            poses: (m 3), one step later.
            history: (m k), the actions up to that step, the oldest first.
        """
        with single_precision(poses.device):
            before, poses = before.float(), poses.float()
            angle = wrap_angle(poses[:, 2] - before[:, 2])
            gone, velocity = torch.zeros_like(poses[:, :2]), torch.zeros_like(poses[:, :2])  # from a standing start
            for tic in range(self.tics):
                thrust = self.thrust_step(history[:, -1])
                velocity = velocity + rotate(thrust, before[:, 2] + angle * ((tic + 1) / self.tics))
                gone, velocity = gone + velocity, velocity * self.drag
            glided = sum(self.drag**tic for tic in range(self.tics))
            velocity = velocity + (poses[:, :2] - before[:, :2] - gone) / glided * self.drag**self.tics
            thrusts = self.thrust_step(torch.arange(len(self.thrust), device=poses.device))
            fastest = thrusts.norm(dim=-1).max() / (1 - self.drag)
            velocity = velocity * (fastest / velocity.norm(dim=-1, keepdim=True).clamp(min=EPSILON)).clamp(max=1)
            return torch.cat([last_step(before, poses), rotate(velocity, -poses[:, 2])], dim=-1)


def add_step(poses: Tensor, steps: Tensor) -> Tensor:
    """Return poses (m 3) after steps (m 3) in the player's own axes."""
    places = poses[:, :2] + rotate(steps[:, :2], poses[:, 2])
    return torch.cat([places, poses[:, 2:] + steps[:, 2:]], dim=-1)


def step_between(before: Tensor, after: Tensor) -> Tensor:
    """Return the steps (m 3), in the player's own axes, that lead from poses to poses (m 3)."""
    away = after - before
    return torch.cat([rotate(away[:, :2], -before[:, 2]), wrap_angle(away[:, 2:])], dim=-1)


def last_step(before: Tensor, now: Tensor) -> Tensor:
    """Return how far it is from poses to poses (m 3), ahead and to the left as seen from the latter: (m 2)."""
    return rotate((now - before)[:, :2], -now[:, 2])


def wrap_angle(angles: Tensor) -> Tensor:
    """Return angles (...) in radians as turns the shorter way round: -pi..pi."""
    return torch.remainder(angles + math.pi, 2 * math.pi) - math.pi


def rotate(places: Tensor, angles: Tensor) -> Tensor:
    """Return places (m 2) rotated counterclockwise by angles (m)."""
    (x, y), cos, sin = places.unbind(-1), angles.cos(), angles.sin()
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)
