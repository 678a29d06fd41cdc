"""How the camera moves: where it is and the last actions -> where it is after the next step.

The same actions lead the same way wherever nothing is in the way, and walls stand where they stand: a step is that of
the actions and of the step before it alone, and what the place makes of it. Told exactly where it is, a small network
learns both to a thousandth of a map in minutes, which a recurrent network that has to find out everything at once does
not.
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
ACTION_DIM = 64
DEPTH = 3  # hidden layers
OCTAVES = 7  # of sines of a place: from twice the map's length to a thirtieth of it
GRID, GRID_SCALE = 128, 16.0  # points to a side of what the ground holds, and how much faster than matrices it learns
GROUND_DIM = 8
TURNS = (1, 2, 3, 4)  # waves around the circle
STEP_SCALE = (0.02, 0.02, 0.2)  # of half a map and of a radian, in one unit of the networks' output


class EgoMotion(nn.Module):
    """Poses and actions -> poses one step later. See `Belief` for what a pose is."""

    waves: Tensor
    turns: Tensor

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        self.actions = table(nn.Parameter(torch.randn(HISTORY, len(config.action_names) + 1, ACTION_DIM)))
        self.ground = table(nn.Parameter(torch.zeros(1, GROUND_DIM, GRID, GRID)))  # where walls stand
        self.free = perceptron(ACTION_DIM + 2, ACTION_DIM, ACTION_DIM, 3)
        features = ACTION_DIM + 2 + 6 * OCTAVES + 2 * len(TURNS) + GROUND_DIM
        self.hindered = perceptron(features, *[config.belief_dim // 2] * DEPTH, 3)
        nn.init.zeros_(self.hindered[-1].weight)  # type: ignore[arg-type]
        self.register_buffer("waves", math.pi * 2.0 ** torch.arange(-1, OCTAVES - 1), persistent=False)
        self.register_buffer("turns", torch.tensor(TURNS, dtype=torch.float32), persistent=False)

    def forward(self, poses: Tensor, told: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Return the poses one step later (m 3), and what is `last` to them (m 2).

        Args:
            poses: (m 3).
            told: (m HISTORY), the actions before that, the oldest first; -1 where it is not told.
            last: (m 2), how far the step before led, ahead and to the left as the player sees it now. It counts only
                where all actions are told: nothing else says whether it is known.
        """
        steps = self.step(poses, told, last)
        return moved(poses, steps), turn(steps[:, :2], -steps[:, 2])

    def step(self, poses: Tensor, told: Tensor, last: Tensor) -> Tensor:
        """Return the step as the player sees it, in map units and radians: (m 3) ahead, to the left, turned left."""
        with single_precision(poses.device):
            poses = poses.float()
            x, y, heading = poses.unbind(-1)
            meanings = torch.stack([actions[told[:, i]] for i, actions in enumerate(self.actions)]).sum(0)
            ahead = x * heading.cos() + y * heading.sin()
            where = [sines(each, self.waves) for each in (x, y, ahead)]
            where += [sines(heading, self.turns), read_grid(self.ground, x, y)]
            known = last.float().masked_fill((told == NO_ACTION).any(1, keepdim=True), 0.0)
            acted = torch.cat([F.relu(meanings), known / known.new_tensor(STEP_SCALE[:2])], dim=-1)
            steps: Tensor = self.free(acted) + self.hindered(torch.cat([acted, *where], dim=-1))
        return steps.float() * steps.new_tensor(STEP_SCALE)


def moved(poses: Tensor, steps: Tensor) -> Tensor:
    """Return poses (m 3) after steps (m 3) as the player sees them."""
    places = poses[:, :2] + turn(steps[:, :2], poses[:, 2])
    return torch.cat([places, poses[:, 2:] + steps[:, 2:]], dim=-1)


def step_between(before: Tensor, after: Tensor) -> Tensor:
    """Return the steps (m 3), as the player sees them, that lead from poses to poses (m 3)."""
    away = after - before
    return torch.cat([turn(away[:, :2], -before[:, 2]), shorter_turn(away[:, 2:])], dim=-1)


def step_back(poses: Tensor, steps: Tensor) -> Tensor:
    """Return the poses (m 3) from which steps (m 3) lead to poses (m 3)."""
    heading = poses[:, 2] - steps[:, 2]
    return torch.cat([poses[:, :2] - turn(steps[:, :2], heading), heading.unsqueeze(1)], dim=-1)


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
