"""How the camera moves: where it is and the last actions -> where it is after the next step.

The same actions lead the same way wherever nothing is in the way, and walls stand where they stand. So a step has two
parts. What the player means to do depends on the actions and on how fast he is, as he sees it; what walls make of it
depends on the place and on where that leads, as the map has it. Told exactly where it is, a small network learns both
to a fraction of a thousandth of a map in minutes, which a recurrent network that has to find out everything at once
does not. After a wall was touched, the speed is not what the last step tells: what else there is to know of it is
learnt, over several steps that follow from each other.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import DynamicsConfig
from ..runtime import single_precision
from ..types import NO_ACTION
from .layers import table
from .radiance_field import perceptron

HISTORY = 5  # actions
ACTION_DIM, FREE_DIM, WALL_DIM = 64, 96, 192
DEPTH = 3  # hidden layers
OCTAVES = 7  # of sines of a place: from twice the map's length to a thirtieth of it
GRID, GRID_SCALE = 192, 16.0  # points to a side of what the ground holds, and how much faster than matrices it learns
GROUND_DIM = 8
HIDDEN_DIM = 8  # of what is learnt about the speed
MOMENTUM_DIM = 2 + 1 + HIDDEN_DIM
STEP_SCALE = (0.02, 0.02, 0.2)  # of half a map and of a radian, in one unit of the networks' output


class EgoMotion(nn.Module):
    """Poses and actions -> poses one step later. See `Belief` for what a pose is.

    A momentum (MOMENTUM_DIM) is what is known of how fast the player is: the step before, ahead and to the left as he
    sees it now; 1 if that is known and 0 if not; and what was learnt besides.
    """

    waves: Tensor

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        self.actions = table(nn.Parameter(torch.randn(HISTORY, len(config.action_names) + 1, ACTION_DIM)))
        self.ground = table(nn.Parameter(torch.zeros(1, GROUND_DIM, GRID, GRID)))  # where walls stand
        self.free = perceptron(ACTION_DIM + 3, FREE_DIM, FREE_DIM, 3)
        features = 4 + 2 * GROUND_DIM + 6 * OCTAVES + HIDDEN_DIM
        self.walls = perceptron(features, *[WALL_DIM] * DEPTH, 2 + HIDDEN_DIM)
        nn.init.zeros_(self.walls[-1].weight[:2])  # type: ignore[index]
        nn.init.zeros_(self.walls[-1].bias)  # type: ignore[arg-type]
        self.register_buffer("waves", math.pi * 2.0 ** torch.arange(-1, OCTAVES - 1), persistent=False)

    def forward(self, poses: Tensor, told: Tensor, momenta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the poses one step later (m 3), and the momenta there (m MOMENTUM_DIM).

        Args:
            poses: (m 3).
            told: (m HISTORY), the actions before that, the oldest first; -1 where it is not told.
            momenta: (m MOMENTUM_DIM).
        """
        with single_precision(poses.device):
            poses, momenta = poses.float(), momenta.float()
            scale = poses.new_tensor(STEP_SCALE)
            x, y, heading = poses.unbind(-1)
            known = momenta[:, 2:3]
            before = known * momenta[:, :2] / scale[:2]
            meanings = torch.stack([actions[told[:, i]] for i, actions in enumerate(self.actions)]).sum(0)
            meant = self.free(torch.cat([F.relu(meanings), before, known], dim=-1))
            ahead, earlier = turn(meant[:, :2], heading), turn(before, heading)  # as the map has it
            there = poses[:, :2] + ahead * scale[:2]
            places = [sines(each, self.waves) for each in (x, y, (ahead * poses[:, :2]).sum(-1))]
            ground = read_grid(self.ground, x, y), read_grid(self.ground, *there.unbind(-1))
            found = self.walls(torch.cat([ahead, earlier, *ground, *places, momenta[:, 3:]], dim=-1))
            steps = torch.cat([meant[:, :2] + turn(found[:, :2], -heading), meant[:, 2:]], dim=-1) * scale
            told_all = (told != NO_ACTION).all(1, keepdim=True)
            known = torch.maximum(known, told_all.to(known.dtype))
            after = torch.cat([turn(steps[:, :2], -steps[:, 2]), known, found[:, 2:].tanh()], dim=-1)
        return moved(poses, steps), after


def momenta_of(steps: Tensor) -> Tensor:
    """Return the momenta (m MOMENTUM_DIM) after steps (m 2), ahead and to the left as they are seen afterwards."""
    known = torch.cat([steps, torch.ones_like(steps[:, :1])], dim=-1)
    return F.pad(known, (0, HIDDEN_DIM))


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


def sines(numbers: Tensor, speeds: Tensor) -> Tensor:
    """Return sines and cosines of numbers (...) at some speeds (s): (... 2s)."""
    phases = numbers.unsqueeze(-1) * speeds
    return torch.cat([phases.sin(), phases.cos()], dim=-1)


def read_grid(grid: Tensor, *places: Tensor) -> Tensor:
    """Return what a grid (1 c h w) holds between its points, at x and y (...) in -1..1."""
    held = F.grid_sample(grid, torch.stack(places, dim=-1)[None, None], padding_mode="border", align_corners=True)
    return GRID_SCALE * held[0, :, 0].T
