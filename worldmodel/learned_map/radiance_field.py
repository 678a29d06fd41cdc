"""A radiance field: a map whose walls stand upright, rendered from any place.

A first-person view of such a world is decided by three things: how far each of its columns sees, what stands there, and
what lies on the floor and the ceiling before it. The first is a density on the map, from which a ray is stopped (volume
rendering, NeRF, Mildenhall et al. 2020, arXiv 2003.08934); the others are learnt grids, read where the ray ends and
where a pixel's line of sight meets the floor or the ceiling, and small networks that turn what is held there into
colours (as Sun et al. 2022, arXiv 2111.11215, do in three dimensions). All of it is learnt from nothing but frames and
where they were seen from.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..dynamics.layers import table
from ..runtime import single_precision
from .config import LearnedMapConfig

BLOCK = 2  # pixels to a side that are rendered at once, from one ray
REACH = 1.06  # the grids cover so much of the map's -1..1
FAR = 1.75  # of half the map: how far a ray goes
COARSE, FINE = 160, 32  # samples along a ray: where it is stopped, and what stands there
EXPLORE = 0.25  # of the fine samples are anywhere along the ray
SOLID = 0.1  # optical depth of a cell of the density's grid, with its neighbours', that may stop a ray
JUMPS, STOPPED = 32, 0.7  # at most, on the way to where a ray is stopped, and the optical depth that stops it
TRIED, TRIED_BLOCKS = 16, (8, 6)  # views of so many blocks, by which the occupancy cache is judged,
ROOMY, GOLDEN_ANGLE = 10, 2.4  # from a tenth of the map, where it is clearest, in all directions
ALIKE = 0.05  # of the variance, the squared difference that is allowed
NEAR_FINE, BEFORE, BEHIND = 8, 3.0, 4.0  # samples there, over so many cells
GRID_SCALE = 20.0  # grids learn so many times as fast as matrices
DENSITY_SCALE, DENSITY_START, DENSITY_UNIT = 10.0, -4.0, 90.0  # of what the density's grid holds
WALL_DIM, PLANE_DIM = 24, 8  # what the grids hold
TEXTURE_WAVES = (1, 2, 4, 8, 16)  # up a wall, in 1 / 6.25 of the eye's height
EYE_WAVES = 2 * math.pi / 6.25
EPSILON = 1e-9
UNSEEN = 1e-6  # share of a colour
AT_ONCE = 2048  # lines of sight are rendered: more do not fit a CPU's caches
SIZE_STEP = 256  # of the numbers of blocks that are rendered at once


class OccupancyCache(NamedTuple):
    """What makes tracing rays fast, for every point of the density's grid (g*g)."""

    clearance: Tensor  # how many cells a ray may go on from there, whatever its direction; at least 1
    depth: Tensor  # the optical depth of a cell, 0 where it is clear
    reliable: bool = True  # whether rays so traced show what the slow ones do; in a fog they do not


class RayHit(NamedTuple):
    """What is met by the rays of r columns of m views, and by the lines of sight to k blocks of each."""

    features: Tensor  # (m r c), of the wall where the ray ends
    distance: Tensor  # (m r 1), to it
    across: Tensor  # (m r 1), the ray's slope to the right
    slope: Tensor  # (m r k), of the line of sight, upwards
    height: Tensor  # (m r k), where it meets the wall, in heights of the eye
    reach: Tensor  # (m r k), how far it is to the floor or ceiling
    x: Tensor  # (m r k), of that place
    y: Tensor
    open_share: Tensor  # (m r k), how much of what lies there is seen

    def each(self, *numbers: Tensor) -> Tensor:
        """Return numbers (m r k) or (m r 1) of the lines of sight together: (m r k n)."""
        return torch.stack([number.expand(self.height.shape) for number in numbers], dim=-1)

    def of(self, which: Tensor) -> RayHit:
        """Return some lines of sight, by their numbers (n): each as if of a view of its own, (n 1 1)."""
        rays = which // self.height.shape[-1]
        of_rays = (part.flatten(0, 1)[rays].unsqueeze(1) for part in self[:3])
        return RayHit(*of_rays, *(part.flatten()[which].view(-1, 1, 1) for part in self[3:]))


class RadianceField(nn.Module):
    """The view of a camera -> what it shows.

    A view (4) is x and y in -1..1 of the map, a heading in radians, counterclockwise, and how far the eye is above its
    rest, in heights of the eye above the floor.
    """

    def __init__(self, config: LearnedMapConfig) -> None:
        super().__init__()
        self.size = config.code_grid * config.code_pixels
        self.block = BLOCK if config.code_pixels % BLOCK == 0 else 1
        self.columns = self.rows = self.size // self.block
        self.grid = config.map_grid
        self.occupancy: OccupancyCache | None = None
        self.density = self._grid(1, start=0.0)
        self.walls, self.floor, self.ceiling = (self._grid(dim) for dim in (WALL_DIM, PLANE_DIM, PLANE_DIM))
        # Of half the field of view, the tangent across; up and down, in heights of the eye. They are learnt.
        self.spread = nn.Parameter(torch.ones(()))
        self.tilt = nn.Parameter(torch.tensor(7.0))
        self.horizon = nn.Parameter(torch.zeros(()))
        self.room = nn.Parameter(torch.tensor(1.8))  # from the floor to the ceiling
        self.higher = nn.Linear(WALL_DIM, 1)  # and how much more it is before a wall
        colours, dim = 3 * self.block**2, config.colour_dim
        self.wall = perceptron(WALL_DIM + 2 * len(TEXTURE_WAVES) + 5, dim, dim, colours)
        self.plane = perceptron(2 * PLANE_DIM + 4, dim, dim, colours)
        # Before training it renders the mean colour and a level floor.
        for last in (self.higher, self.wall[-1], self.plane[-1]):
            for start in last.parameters():
                nn.init.zeros_(start)

    def _grid(self, dim: int, start: float = 0.1) -> nn.Parameter:
        return table(nn.Parameter(start / GRID_SCALE * torch.randn(self.grid**2, dim)))

    @torch.no_grad()
    def build_occupancy(self) -> None:
        """Build the occupancy cache of the map as it is now, for `forward` when it is to be quick."""
        cell = 2 * REACH / (self.grid - 1)
        depth = self._opacity(GRID_SCALE * self.density[:, 0]) * cell
        around = F.avg_pool2d(depth.reshape(1, 1, self.grid, self.grid), 3, stride=1, padding=1)[0, 0]
        clearance = (_distances(around > SOLID) - 1).clamp(min=1).flatten()
        self.occupancy = OccupancyCache(clearance, torch.where(clearance > 1, 0.0, depth))
        self.occupancy = self.occupancy._replace(reliable=self._is_reliable(clearance))

    def _is_reliable(self, clearance: Tensor) -> bool:
        """Return whether the occupancy cache can be relied on, by some views from where the clearance is largest."""
        if clearance.is_meta:
            return True
        number = torch.arange(TRIED, device=clearance.device)
        widest = clearance.argsort(descending=True, stable=True)[number * (len(clearance) // (ROOMY * TRIED))]
        row, column = widest // self.grid, widest % self.grid
        x, y = ((each * (2 / (self.grid - 1)) - 1) * REACH for each in (column, row))
        views = torch.stack([x, y, GOLDEN_ANGLE * number, torch.zeros_like(x)], dim=-1)
        slow, fast = (self.render_blocks(views, *TRIED_BLOCKS, quick=quick) for quick in (False, True))
        return bool((fast - slow).square().mean() <= ALIKE * slow.var())

    def forward(
        self,
        views: Tensor,
        columns: Tensor,
        rows: Tensor,
        *,
        generator: torch.Generator | None = None,
        quick: bool = False,
    ) -> Tensor:
        """Return some blocks of views, in standardised colours: (m r k 3*block*block).

        Args:
            views: (m 4).
            columns: int64 (m r), which columns of blocks, from the left.
            rows: int64 (m r k), which rows of each, from the top.
            generator: on the CPU; with it, samples along a ray are anywhere between their neighbours, for training.
            quick: trace rays by the occupancy cache, if it is reliable: not quite the same picture, in half the time.
        """
        with single_precision(views.device):
            hit = self._trace(views.float(), columns, rows, generator, quick)
        if torch.is_grad_enabled() or views.is_meta:
            share = hit.open_share.unsqueeze(-1)
            return self._planes(hit) * share + self._walls(hit) * (1 - share)
        return self._composite(hit)

    def _composite(self, hit: RayHit) -> Tensor:
        """Return the same as `forward`. Most blocks show a wall or what lies before it: only that is rendered."""
        rendered = hit.features.new_zeros(hit.height.numel(), 3 * self.block**2)
        for shade, shares in ((self._planes, hit.open_share), (self._walls, 1 - hit.open_share)):
            shares = shares.flatten()
            seen = (shares > UNSEEN).nonzero().squeeze(1)
            for some in _few_sizes(seen).split(AT_ONCE if seen.device.type == "cpu" else max(1, len(seen))):
                rendered[some] += shares[some, None] * shade(hit.of(some)).flatten(0, 2)
        return rendered.unflatten(0, hit.height.shape)

    def _walls(self, hit: RayHit) -> Tensor:
        """Return the colours of walls where lines of sight (m r k) meet them: (m r k 3*block*block)."""
        with single_precision(hit.features.device):
            height = hit.height
            phases = height.unsqueeze(-1) * (EYE_WAVES * height.new_tensor(TEXTURE_WAVES))
            stands = hit.features.unsqueeze(-2).expand(*height.shape, -1)
            nearness = 1 / (hit.distance + 0.1)
            others = hit.each(height, hit.distance, nearness, hit.slope / 8, hit.across)
            known = torch.cat([stands, phases.sin(), phases.cos(), others], dim=-1)
        colours: Tensor = self.wall(known).float()
        return colours

    def _planes(self, hit: RayHit) -> Tensor:
        """Return the colours of the floor or ceiling where lines of sight (m r k) meet it: (m r k 3*block*block)."""
        with single_precision(hit.features.device):
            below = (hit.slope < 0).unsqueeze(-1)
            floor, ceiling = (self._read(grid, hit.x, hit.y) for grid in (self.floor, self.ceiling))
            nearness = 1 / (hit.reach + 0.1)
            others = hit.each(hit.reach, nearness, hit.slope / 8, hit.across)
            known = torch.cat([floor * below, ceiling * ~below, others], dim=-1)
        colours: Tensor = self.plane(known).float()
        return colours

    def render(self, views: Tensor) -> Tensor:
        """Return whole views (m 4) as images: (m 3 H W)."""
        columns = torch.arange(self.columns, device=views.device).expand(len(views), -1)
        rows = torch.arange(self.rows, device=views.device).expand(len(views), self.columns, -1)
        return rearrange(
            self(views, columns, rows), "m c r (k i j) -> m k (r i) (c j)", i=self.block, j=self.block
        )  # fmt: skip

    def render_blocks(self, views: Tensor, columns: int, rows: int, *, quick: bool = False) -> Tensor:
        """Return blocks spread evenly over views (m 4), at most so many: (m columns rows 3*block*block)."""
        across, down = self.spread_blocks(columns, rows, views.device)
        return self(views, across.expand(len(views), -1), down.expand(len(views), len(across), -1), quick=quick)

    def spread_blocks(self, columns: int, rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return which columns and rows `render_blocks` shows, of at most so many."""
        across, down = (
            ((torch.arange(min(count, whole), device=device) + 0.5) * (whole / min(count, whole))).long()
            for count, whole in ((columns, self.columns), (rows, self.rows))
        )
        return across, down

    def blocks(self, images: Tensor) -> Tensor:
        """Return images (m 3 H W) in the blocks that `forward` renders: (m columns rows 3*block*block)."""
        return rearrange(images, "m k (r i) (c j) -> m c r (k i j)", i=self.block, j=self.block)

    def _trace(
        self, views: Tensor, columns: Tensor, rows: Tensor, generator: torch.Generator | None, quick: bool = False
    ) -> RayHit:
        """Return what is known of the wall and of the floor or ceiling behind each block, and how open the way is."""
        x, y, heading, eye = (views[:, i, None, None] for i in range(4))
        across = (self.spread * ((columns + 0.5) / (self.columns / 2) - 1)).unsqueeze(-1)  # (m r 1)
        direction, ahead = heading - torch.atan(across), torch.rsqrt(1 + across * across)
        cos, sin = direction.cos(), direction.sin()
        if quick and self.occupancy is not None and self.occupancy.reliable:
            edges, places = self._stops(x, y, cos, sin, self.occupancy)
        else:
            edges, places = self._samples(x, y, cos, sin, generator)
        here = x + cos * places, y + sin * places
        depths = F.pad(self._density(*here) * edges.diff(dim=-1), (1, 0))  # optical, up to each edge
        depths = torch.cat([depths[..., :-1], depths[..., -1:] + 50.0], dim=-1).cumsum(-1)  # nothing goes on for ever
        weights = -torch.exp(-depths).diff(dim=-1)
        held = (weights.unsqueeze(-1) * self._read(self.walls, *here)).sum(-2)  # (m r c)
        distance = (weights * places).sum(-1, keepdim=True)

        up = self.tilt * (1 - (rows + 0.5) / (self.rows / 2)) + self.horizon  # (m r k), a slope
        ceiling = (self.room + self.higher(held) - 1 - eye).clamp(min=0.05)
        away = torch.where(up < 0, 1 + eye, ceiling) / up.abs().clamp(min=1e-2)
        reach = (away / ahead).clamp(max=FAR)  # where the line of sight meets the floor or the ceiling
        return RayHit(
            features=held,
            distance=distance,
            across=across,
            slope=up,
            height=up * distance * ahead + eye,
            reach=reach,
            x=x + cos * reach,
            y=y + sin * reach,
            open_share=torch.exp(-_between(reach, edges, depths)),
        )

    @torch.no_grad()
    def _samples(
        self, x: Tensor, y: Tensor, cos: Tensor, sin: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Return the edges (m r FINE+1) of intervals along rays, short where these are stopped, and a place in each."""
        step = FAR / COARSE
        starts = torch.arange(COARSE, device=x.device) + 0.5
        if generator is not None:
            starts = starts - 0.5 + torch.rand(cos.shape, generator=generator).to(x.device)
        places = (starts * step).expand(*cos.shape[:2], COARSE)
        depths = (self._density(x + cos * places, y + sin * places) * step).cumsum(-1)
        depths[..., -1] += 50.0
        weights = -torch.exp(-F.pad(depths, (1, 0))).diff(dim=-1)
        weights = F.max_pool1d(weights, 3, stride=1, padding=1)
        weights = (1 - EXPLORE) * weights / weights.sum(-1, keepdim=True) + EXPLORE / COARSE
        passed = F.pad(weights.cumsum(-1), (1, 0))
        passed = passed / passed[..., -1:]
        shares = torch.linspace(0, 1, FINE + 1, device=x.device).expand(*cos.shape[:2], FINE + 1)
        if generator is not None:
            moved = (torch.rand(cos.shape, generator=generator).to(x.device) - 0.5) / FINE
            shares = torch.cat([shares[..., :1], shares[..., 1:-1] + moved, shares[..., -1:]], dim=-1)
        grid = torch.arange(COARSE + 1, device=x.device).expand(passed.shape)
        edges = step * _between(shares, passed, grid)
        within: Tensor | float = 0.5
        if generator is not None:
            within = torch.rand(edges[..., 1:].shape, generator=generator).to(x.device)
        return edges, edges[..., :-1] + within * edges.diff(dim=-1)

    def _stops(
        self, x: Tensor, y: Tensor, cos: Tensor, sin: Tensor, occupancy: OccupancyCache
    ) -> tuple[Tensor, Tensor]:
        """Return the same as `_samples`, around where rays are stopped.

        A ray goes on by as much as is clear all around (sphere tracing, Hart 1996), until what it has passed through
        is opaque.
        """
        half, cell = (self.grid - 1) / 2, 2 * REACH / (self.grid - 1)
        column, row = ((each / REACH + 1) * half + 0.5 for each in (x, y))
        gone, depth = torch.zeros_like(cos), torch.zeros_like(cos)  # in cells
        for _ in range(JUMPS):
            there = torch.addcmul(row, sin, gone).clamp_(0, self.grid - 1).long() * self.grid
            there += torch.addcmul(column, cos, gone).clamp_(0, self.grid - 1).long()
            jump = occupancy.clearance[there]
            depth.addcmul_(occupancy.depth[there], jump)
            gone = torch.where(depth < STOPPED, gone + jump, gone)
        gone = gone.clamp(max=FAR / cell)
        shares = torch.linspace(0, 1, NEAR_FINE + 1, device=x.device).expand(*cos.shape[:2], -1)
        edges = cell * torch.lerp((gone - BEFORE).clamp(min=0), gone + BEHIND, shares)
        return edges, (edges[..., 1:] + edges[..., :-1]) / 2

    def _density(self, x: Tensor, y: Tensor) -> Tensor:
        return self._opacity(self._read(self.density, x, y).squeeze(-1))

    @staticmethod
    def _opacity(held: Tensor) -> Tensor:
        """Return the optical depth of a unit of length where the density's grid holds so much."""
        return F.softplus(DENSITY_SCALE * held + DENSITY_START) * DENSITY_UNIT

    def _read(self, grid: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return what a grid (g*g c) holds at places (...) of the map, between its points: (... c)."""
        column, row = (((each / REACH + 1) * ((self.grid - 1) / 2)).clamp(0, self.grid - 1.001) for each in (x, y))
        left, top = column.long(), row.long()
        right, down = (column - left).unsqueeze(-1), (row - top).unsqueeze(-1)
        first = top * self.grid + left
        corners = [F.embedding(first + away, grid) for away in (0, 1, self.grid, self.grid + 1)]
        right = right.expand_as(corners[0])
        upper, lower = torch.lerp(corners[0], corners[1], right), torch.lerp(corners[2], corners[3], right)
        return GRID_SCALE * torch.lerp(upper, lower, down.expand_as(upper))


def _distances(solid: Tensor) -> Tensor:
    """Return how far each point of a grid, bool (g g), is from the nearest that is solid, in cells; far if none is."""
    place = torch.arange(len(solid), device=solid.device)
    squares = (place.unsqueeze(1) - place).square().float()
    squared = torch.where(solid, 0.0, 4.0 * len(solid) ** 2)
    for _ in range(2):  # within each row, then within each column of what was found
        nearest = [(squares + part.unsqueeze(1)).amin(-1) for part in squared.split(16)]
        squared = torch.cat(nearest).T.contiguous()
    return squared.sqrt()


def _between(at: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """Return `values` (... n), known at rising `places` (... n), between these: at (... k)."""
    index = (torch.searchsorted(places, at.detach().contiguous(), right=True) - 1).clamp(0, places.shape[-1] - 2)
    before, after = places.gather(-1, index), places.gather(-1, index + 1)
    share = ((at - before) / (after - before).clamp(min=EPSILON)).clamp(0, 1)
    return torch.lerp(values.gather(-1, index).to(share.dtype), values.gather(-1, index + 1).to(share.dtype), share)


def perceptron(*widths: int) -> nn.Sequential:
    """Return linear layers between `widths` with ReLUs between them."""
    parts: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        parts += [nn.Linear(before, after), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts[:-1])


def _few_sizes(rows: Tensor) -> Tensor:
    """Return row numbers, the last one repeated up to a multiple of SIZE_STEP: it is written again with the same value.

    For every new number of rows in a matrix product oneDNN compiles a kernel and keeps it: a megabyte a frame.
    """
    return torch.cat([rows, rows[-1:].expand(-len(rows) % SIZE_STEP)])
