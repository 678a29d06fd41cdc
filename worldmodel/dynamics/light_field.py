"""What is seen from where: the colours along every ray of a world that is the same in every episode.

A column of a first-person view shows what lies in one direction from one place; in a game whose walls stand upright
and whose camera does not tilt, nothing else decides it. So a view is painted column by column, each from its own ray
alone (the light field, Levoy & Hanrahan 1996): whatever was seen in that direction, in any column of any frame, says
what this one will look like. A ray is described by sines of its numbers (Tancik et al. 2020, arXiv 2006.10739) and by
what learnt grids hold there (Mueller et al. 2022, arXiv 2201.05989).
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import DynamicsConfig
from ..runtime import single_precision
from .layers import table

OCTAVES = 7  # of sines of a place: from twice the map's length to a thirtieth of it
TURNS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # waves around the circle
LINE_DIM, VIEW_DIM, PLACE_DIM = 8, 4, 8  # what the grids hold
GRID_SCALE = 16.0  # the grids learn so many times as fast as matrices
GRID_START = 0.01
DEPTH = 3  # hidden layers
HINT_DIM = 32


class LightField(nn.Module):
    """Where the camera is -> what its columns look like. A column is as wide as a code.

    A heading is in radians, counterclockwise; places are in -1..1.
    """

    middles: Tensor
    waves: Tensor
    turns: Tensor

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        self.columns, self.cell = config.code_grid, config.cell
        self.height = config.code_grid * config.cell
        grid = config.light_field_grid
        # Of half the field of view, the tangent. It starts at 90 degrees and is learnt.
        self.spread = nn.Parameter(torch.ones(()))
        self.lines = self._grid(LINE_DIM, 8 * grid, 8 * grid + 1)  # what stands along a line of sight
        self.views = self._grid(VIEW_DIM, 2 * grid + 1, grid, grid)  # in each direction from each place
        self.places = self._grid(PLACE_DIM, 2 * grid, 2 * grid)
        features = 8 * OCTAVES + 2 * len(TURNS) + 2 + LINE_DIM + VIEW_DIM + PLACE_DIM + HINT_DIM
        self.colours = perceptron(features, *[config.light_field_dim] * DEPTH, 3 * self.height * self.cell)
        middles = (torch.arange(self.columns) + 0.5) / self.columns * 2 - 1
        self.register_buffer("middles", middles, persistent=False)
        self.register_buffer("waves", math.pi * 2.0 ** torch.arange(-1, OCTAVES - 1), persistent=False)
        self.register_buffer("turns", torch.tensor(TURNS, dtype=torch.float32), persistent=False)

    @staticmethod
    def _grid(*shape: int) -> nn.Parameter:
        return table(nn.Parameter(GRID_START / GRID_SCALE * torch.randn(1, *shape)))

    def forward(self, poses: Tensor, hints: Tensor, columns: Tensor) -> Tensor:
        """Return what is seen in some columns, in standardised colours: (m r 3 H cell).

        Args:
            poses: (m 3), x, y and heading.
            hints: (m HINT_DIM), what else is known; zeros where the pose is all.
            columns: int64 (m r), which columns, from the left.
        """
        with single_precision(poses.device):  # a place is told to a thousandth of the map
            rays = self._rays(poses.float(), columns)
        hints = hints.unsqueeze(1).expand(-1, rays.shape[1], -1)
        colours = self.colours(torch.cat([rays, hints.float()], dim=-1))
        return colours.float().unflatten(-1, (3, self.height, self.cell))

    def view(self, poses: Tensor, hints: Tensor) -> Tensor:
        """Return whole views: (m 3 H W)."""
        columns = torch.arange(self.columns, device=poses.device).expand(len(poses), -1)
        return self(poses, hints, columns).permute(0, 2, 3, 1, 4).flatten(3)

    def _rays(self, poses: Tensor, columns: Tensor) -> Tensor:
        """Return what describes each ray: (m r features)."""
        x, y, heading = (poses[:, i : i + 1].expand(columns.shape) for i in range(3))
        sideways = torch.atan(self.spread * self.middles)[columns]
        direction = heading - sideways
        offset = x * direction.sin() - y * direction.cos()  # of the line of sight from the map's middle
        along = x * direction.cos() + y * direction.sin()  # how far along that line the camera stands
        around = torch.remainder(direction / math.pi + 1, 2) - 1
        features = [sines(each, self.waves) for each in (x, y, offset, along)]
        features += [sines(direction, self.turns), torch.stack([sideways.tan(), sideways.cos()], dim=-1)]
        features += [read_grid(self.lines, around, offset / math.sqrt(2)), read_grid(self.views, x, y, around)]
        return torch.cat([*features, read_grid(self.places, x, y)], dim=-1)


def perceptron(*widths: int) -> nn.Sequential:
    """Return linear layers between `widths` with ReLUs between them."""
    parts: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        parts += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def sines(numbers: Tensor, speeds: Tensor) -> Tensor:
    """Return sines and cosines of numbers (...) at some speeds (s): (... 2s)."""
    phases = numbers.unsqueeze(-1) * speeds
    return torch.cat([phases.sin(), phases.cos()], dim=-1)


def read_grid(grid: Tensor, *places: Tensor) -> Tensor:
    """Return what a grid (1 c ... h w) holds between its points, at places (...) each in -1..1, the last axis first."""
    points = torch.stack(places, dim=-1).flatten(0, -2)
    points = points[(None,) * (grid.ndim - 2)]  # as F.grid_sample wants them: as many axes as the grid
    held = F.grid_sample(grid, points, padding_mode="border", align_corners=True)
    return GRID_SCALE * held.reshape(-1, *places[0].shape).movedim(0, -1)
