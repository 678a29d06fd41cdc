"""How the camera moves: where it is and the last actions -> where it is after the next step.

The same actions lead the same way wherever nothing is in the way, and walls stand where they stand: a step is that of
the actions alone, and what the place makes of it. Told exactly where it is, a small network learns both to a few
thousandths of a map in minutes, which a recurrent network that has to find out everything at once does not.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import DynamicsConfig
from ..runtime import single_precision
from .layers import table
from .light_field import OCTAVES, perceptron, read_grid, sines

HISTORY = 5  # actions: momentum is gone after so many
ACTION_DIM = 64
DEPTH = 3  # hidden layers
GROUND_DIM = 8
TURNS = (1, 2, 3, 4)  # waves around the circle
STEP_SCALE = (0.02, 0.02, 0.2)  # of half a map and of a radian, in one unit of the networks' output


class EgoMotion(nn.Module):
    """Poses and actions -> poses one step later. See `Belief` for what a pose is."""

    waves: Tensor
    turns: Tensor

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        grid = 2 * config.light_field_grid
        self.actions = table(nn.Parameter(torch.randn(HISTORY, len(config.action_names) + 1, ACTION_DIM)))
        self.ground = table(nn.Parameter(torch.zeros(1, GROUND_DIM, grid, grid)))  # where walls stand
        self.free = perceptron(ACTION_DIM, ACTION_DIM, 3)
        features = ACTION_DIM + 6 * OCTAVES + 2 * len(TURNS) + GROUND_DIM
        self.hindered = perceptron(features, *[config.light_field_dim // 2] * DEPTH, 3)
        nn.init.zeros_(self.hindered[-1].weight)  # type: ignore[arg-type]
        self.register_buffer("waves", math.pi * 2.0 ** torch.arange(-1, OCTAVES - 1), persistent=False)
        self.register_buffer("turns", torch.tensor(TURNS, dtype=torch.float32), persistent=False)

    def forward(self, poses: Tensor, told: Tensor) -> Tensor:
        """Return the poses one step later: (m 3).

        Args:
            poses: (m 3).
            told: (m HISTORY), the actions before that, the oldest first; -1 where it is not told.
        """
        return moved(poses, self.step(poses, told))

    def step(self, poses: Tensor, told: Tensor) -> Tensor:
        """Return the step as the player sees it, in map units and radians: (m 3) ahead, to the left, turned left."""
        with single_precision(poses.device):
            poses = poses.float()
            x, y, heading = poses.unbind(-1)
            meanings = torch.stack([actions[told[:, i]] for i, actions in enumerate(self.actions)]).sum(0)
            ahead = x * heading.cos() + y * heading.sin()
            where = [sines(each, self.waves) for each in (x, y, ahead)]
            where += [sines(heading, self.turns), read_grid(self.ground, x, y)]
            acted = F.relu(meanings)
            steps: Tensor = self.free(acted) + self.hindered(torch.cat([acted, *where], dim=-1))
        return steps.float() * steps.new_tensor(STEP_SCALE)


def moved(poses: Tensor, steps: Tensor) -> Tensor:
    """Return poses (m 3) after steps (m 3) as the player sees them."""
    ahead, left, turned = steps.unbind(-1)
    cos, sin = poses[:, 2].cos(), poses[:, 2].sin()
    x, y = poses[:, 0] + cos * ahead - sin * left, poses[:, 1] + sin * ahead + cos * left
    return torch.stack([x, y, poses[:, 2] + turned], dim=-1)


def step_between(before: Tensor, after: Tensor) -> Tensor:
    """Return the steps (m 3), as the player sees them, that lead from poses to poses (m 3)."""
    away = after - before
    cos, sin = before[:, 2].cos(), before[:, 2].sin()
    ahead, left = cos * away[:, 0] + sin * away[:, 1], cos * away[:, 1] - sin * away[:, 0]
    return torch.stack([ahead, left, shorter_turn(away[:, 2])], dim=-1)


def shorter_turn(angles: Tensor) -> Tensor:
    """Return angles (...) in radians as turns the shorter way round: -pi..pi."""
    return torch.remainder(angles + math.pi, 2 * math.pi) - math.pi
