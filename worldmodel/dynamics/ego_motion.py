"""How the camera moves: where it is and the last actions -> where it is after the next step.

A player has inertia: every tic of the engine an action pushes him, walls stop him, and friction leaves a share of his
speed. How strongly each action pushes and turns, how much friction leaves, and where walls stand is all learnt from
recordings (`training/ego_motion.py`), and then holds for steps without end: ten of them are off by a few hundredths of
a unit, where nothing but a wall's corner can part what is reckoned from what is.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..config import DynamicsConfig
from ..runtime import single_precision
from .layers import table
from .walls import Walls

HISTORY = 5  # actions
TURNED = 3  # of them, the last, say how far the player turns: keys that are held turn faster
MOMENTUM_DIM = 2 + 2
STEP_SCALE = (0.02, 0.02, 0.2)  # of half a map and of a radian: a step's length, about
KEY_SCALE = 20.0  # of what is learnt of keys and of friction, in one unit of it
STILL = 1 / 16  # of the game's units a tic: who is not pushed and slower along both axes stands (Doom's `STOPSPEED`)
EPSILON = 1e-6


class EgoMotion(nn.Module):
    """Poses and actions -> poses one step later. See `Belief` for what a pose is.

    A momentum (MOMENTUM_DIM) is the step before and how fast the player is now, in halves of the map a tic, both ahead
    and to the left as he sees it now.
    """

    still: Tensor

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        self.tics = config.frame_skip
        told = len(config.action_names) + 1  # the last for "not told"
        self.turn = table(nn.Parameter(torch.zeros(told)))  # by the last action, as far as no more is known
        self.turns = table(nn.Parameter(torch.zeros(told**TURNED)))  # and so much more after the last few
        self.pushes = table(nn.Parameter(torch.zeros(told, 2)))  # ahead and to the left
        self.glide = nn.Parameter(torch.zeros(()))  # what friction leaves of the speed in a tic, its logit
        self.walls = Walls()
        self.register_buffer("still", torch.zeros(()))  # STILL in halves of the map
        for key in self.keys:
            key.requires_grad_(False)  # they are known before anything else is learnt

    def forward(self, poses: Tensor, told: Tensor, momenta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the poses one step later (m 3), and the momenta there (m MOMENTUM_DIM).

        Args:
            poses: (m 3).
            told: (m HISTORY), the actions before that, the oldest first; -1 where it is not told.
            momenta: (m MOMENTUM_DIM).
        """
        with single_precision(poses.device):
            poses, momenta = poses.float(), momenta.float()
            heading = poses[:, 2]
            speed = turn(momenta[:, 2:], heading)  # as the map has it
            place, angle, push = self.walls.outside(poses[:, :2]), self.turned(told), self.push(told[:, -1])
            glides = (push.norm(dim=-1) < self.still).unsqueeze(-1)
            for tic in range(self.tics):
                speed = speed + turn(push, heading + angle * ((tic + 1) / self.tics))
                place, speed = self.walls.move(place, speed)
                stands = glides & (speed.abs() < self.still).all(-1, keepdim=True)
                speed = torch.where(stands, 0.0, speed * self.kept)
            after = torch.cat([place, (heading + angle).unsqueeze(-1)], dim=-1)
            return after, torch.cat([last_step(poses, after), turn(speed, -after[:, 2])], dim=-1)

    @property
    def keys(self) -> list[nn.Parameter]:
        """What is learnt of keys and of friction."""
        return [self.turn, self.turns, self.pushes, self.glide]

    @property
    def kept(self) -> Tensor:
        """What friction leaves of a speed in a tic."""
        return (KEY_SCALE * self.glide).sigmoid()

    def push(self, actions: Tensor) -> Tensor:
        """Return what actions (m) add to the speed in a tic, ahead and to the left: (m 2)."""
        return self.pushes[actions] * (KEY_SCALE * STEP_SCALE[0] / self.tics**2)

    def turned(self, told: Tensor) -> Tensor:
        """Return by how much the player turns in a step, counterclockwise, after actions (m k): (m)."""
        count = len(self.pushes)
        number = torch.zeros_like(told[:, 0])
        for action in told[:, -TURNED:].unbind(1):
            number = number * count + action % count
        return (self.turn[told[:, -1]] + self.turns[number]) * (KEY_SCALE * STEP_SCALE[2])

    def measured(self, before: Tensor, poses: Tensor, told: Tensor) -> Tensor:
        """Return the momenta (m MOMENTUM_DIM) after steps from poses to poses (m 3), if nothing was in the way.

        Args:
            before: (m 3).
            poses: (m 3), one step later.
            told: (m k), the actions up to that step, the oldest first.
        """
        with single_precision(poses.device):
            before, poses = before.float(), poses.float()
            angle = shorter_turn(poses[:, 2] - before[:, 2])
            gone, speed = torch.zeros_like(poses[:, :2]), torch.zeros_like(poses[:, :2])  # from a standing start
            for tic in range(self.tics):
                speed = speed + turn(self.push(told[:, -1]), before[:, 2] + angle * ((tic + 1) / self.tics))
                gone, speed = gone + speed, speed * self.kept
            glided = sum(self.kept**tic for tic in range(self.tics))
            speed = speed + (poses[:, :2] - before[:, :2] - gone) / glided * self.kept**self.tics
            pushes = self.push(torch.arange(len(self.pushes), device=poses.device))
            fastest = pushes.norm(dim=-1).max() / (1 - self.kept)
            speed = speed * (fastest / speed.norm(dim=-1, keepdim=True).clamp(min=EPSILON)).clamp(max=1)
            return torch.cat([last_step(before, poses), turn(speed, -poses[:, 2])], dim=-1)


def moved(poses: Tensor, steps: Tensor) -> Tensor:
    """Return poses (m 3) after steps (m 3) as the player sees them."""
    places = poses[:, :2] + turn(steps[:, :2], poses[:, 2])
    return torch.cat([places, poses[:, 2:] + steps[:, 2:]], dim=-1)


def step_between(before: Tensor, after: Tensor) -> Tensor:
    """Return the steps (m 3), as the player sees them, that lead from poses to poses (m 3)."""
    away = after - before
    return torch.cat([turn(away[:, :2], -before[:, 2]), shorter_turn(away[:, 2:])], dim=-1)


def last_step(before: Tensor, now: Tensor) -> Tensor:
    """Return how far it is from poses to poses (m 3), ahead and to the left as it is seen from the latter: (m 2)."""
    return turn((now - before)[:, :2], -now[:, 2])


def shorter_turn(angles: Tensor) -> Tensor:
    """Return angles (...) in radians as turns the shorter way round: -pi..pi."""
    return torch.remainder(angles + math.pi, 2 * math.pi) - math.pi


def turn(places: Tensor, angles: Tensor) -> Tensor:
    """Return places (m 2) turned counterclockwise by angles (m)."""
    (x, y), cos, sin = places.unbind(-1), angles.cos(), angles.sin()
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)
