"""Collision: where a player cannot go, and how his step is clipped there.

A wall stops the middle of a player's box half a box before itself. In these coordinates the map is cut into cells by
the lines on which players were stopped; cells that nobody ever entered are solid. Lines run along the axes, like the
walls of most of Doom's test maps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LINES = 64  # across each axis, at most
GAP = 1 / 32  # share of a tic's way that is not gone if it ends at a wall
MAX_HITS = 3  # walls a tic
FAR = 1e6  # of half the map: no line
MARGIN = 1e-5  # of half the map, at least, is left between a player and a wall


class CollisionMap(nn.Module):
    """Cells of a map, some of which nobody can enter: places and steps -> places after these steps.

    All places are x and y in -1..1 of the map. Without lines there is one cell, and it is free.
    """

    lines: Tensor
    free: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("lines", torch.full((2, LINES), FAR))  # across x and across y, rising
        self.register_buffer("free", torch.ones(LINES + 1, LINES + 1, dtype=torch.bool))

    @torch.no_grad()
    def build(self, across_x: Tensor, across_y: Tensor, visited: Tensor, *, near: float) -> None:
        """Place lines, at most LINES across each axis, and mark the cells that were visited as free.

        Args:
            across_x: (n), x of lines along y, rising.
            across_y: (k), y of lines along x, rising.
            visited: (m 2), places.
            near: what is nearer to a line does not count as visited. A cell as thin as that was never entered; it is
                free if its neighbours on both sides are.
        """
        self.lines.fill_(FAR)
        for row, across in zip(self.lines, (across_x, across_y), strict=True):
            row[: len(across)] = across
        inside = torch.ones(len(visited), dtype=torch.bool, device=visited.device)
        for axis in range(2):
            edges = self.lines[axis]
            place = visited[:, axis].contiguous()
            inside &= (torch.bucketize(place - near, edges) == torch.bucketize(place + near, edges)).to(inside.device)
        self.free.fill_(False)
        self.free[self._cells(visited[inside].to(self.lines)).unbind(-1)] = True
        for axis, cells in enumerate((self.free, self.free.T)):
            gaps = self.lines[axis][: len((across_x, across_y)[axis])].diff()
            thin = (gaps < 2 * near).nonzero().flatten() + 1
            cells[thin] = cells[thin - 1] & cells[thin + 1]

    def is_free(self, places: Tensor) -> Tensor:
        """Return whether the middle of a player can be at places (m 2): (m)."""
        return self.free[self._cells(places).unbind(-1)]

    def nearest_free(self, places: Tensor) -> Tensor:
        """Return places (m 2), those within walls moved to the nearest border of their cell that can be passed."""
        cells = self._cells(places)
        nearest, found = places, torch.full_like(places[:, 0], math.inf)
        for axis in range(2):
            for side in (-1, 1):
                line, passable = self._neighbour(cells, axis, side)
                away = torch.where(passable, (line - places[:, axis]).abs(), math.inf)
                beyond = places.clone()
                beyond[:, axis] = line + side * MARGIN
                nearest = torch.where((away < found).unsqueeze(-1), beyond, nearest)
                found = torch.minimum(away, found)
        return torch.where(self.free[cells.unbind(-1)].unsqueeze(-1), places, nearest)

    def move(self, places: Tensor, speed: Tensor) -> tuple[Tensor, Tensor]:
        """Return places and speeds (m 2) after a tic with velocity `speed` (m 2), halves of the map a tic.

        A player who would end in a wall moves up to it and slides along it with the share of his speed that is left
        (Doom's `P_SlideMove`). A player within a wall is not stopped.
        """
        going, inside, way = torch.ones_like(places[:, 0], dtype=torch.bool), ~self.is_free(places), speed
        for _ in range(MAX_HITS):
            stopped = going & ~inside & ~self.is_free(places + way)
            places = torch.where((going & ~stopped).unsqueeze(-1), places + way, places)
            going = stopped
            if not going.any():
                break
            share, across = self._hit(places, way)
            there = places + (share - GAP).clamp(min=0).unsqueeze(-1) * way
            places = torch.where(going.unsqueeze(-1), there, places)
            way = torch.where(across, 0.0, (1 - share).unsqueeze(-1) * way)
            speed = torch.where(going.unsqueeze(-1), way, speed)
        return places, speed

    def _hit(self, places: Tensor, way: Tensor) -> tuple[Tensor, Tensor]:
        """Return which share of ways (m 2) leads to the first wall (m), and along which axis it stops: bool (m 2).

        A way that meets none, and ends in one all the same, is stopped where it begins along both.
        """
        shares, cells = [], self._cells(places)
        for axis in range(2):
            step = way[:, axis]
            side = torch.where(step > 0, 1, -1)
            line, _ = self._neighbour(cells, axis, side)
            share = (line - places[:, axis]) / step
            at = self._cells(places + share.nan_to_num(0.0, 0.0, 0.0).unsqueeze(-1) * way)
            at[:, axis] = cells[:, axis]
            _, passable = self._neighbour(at, axis, side)
            hit = (step != 0) & (share <= 1) & ~passable
            shares.append(torch.where(hit, share.clamp(min=0), math.inf))
        both = torch.stack(shares, dim=-1)
        first = both.amin(-1)
        across = (both == first.unsqueeze(-1)) | first.isinf().unsqueeze(-1)
        return first.nan_to_num(0.0, 0.0, 0.0), across

    def _cells(self, places: Tensor) -> Tensor:
        """Return in which column and row of cells places (m 2) are: (m 2)."""
        found = [torch.bucketize(places[:, axis].contiguous(), self.lines[axis], right=True) for axis in range(2)]
        return torch.stack(found, dim=-1)

    def _neighbour(self, cells: Tensor, axis: int, side: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return where the border of cells (m 2) towards one side of an axis is, and whether it can be passed: (m).

        The side is -1 or 1, the same for all or int64 (m).
        """
        side = torch.as_tensor(side, device=cells.device)
        number = cells[:, axis] + side
        border = torch.maximum(cells[:, axis], number) - 1
        other = cells.clone()
        other[:, axis] = number.clamp(0, LINES)
        line = self.lines[axis][border.clamp(0, LINES - 1)]
        there_is = (border >= 0) & (border < LINES) & (line < FAR)
        return torch.where(there_is, line, side * FAR), there_is & self.free[other.unbind(-1)]
