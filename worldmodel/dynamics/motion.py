"""Motion compensation: how the view moves between two frames, and what the codes that were there looked like.

Most of the next frame is this one, moved, by fractions of a code too. A code cannot be moved by a fraction; what it
looks like can. So every code is painted as its mean appearance, the painting is warped as the last actions say, and a
small network reads each code of the next frame off the warped painting.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import DynamicsConfig
from ..runtime import single_precision
from .layers import table

CAMERA_SCALE = 0.5  # frame halves of displacement in one unit of the network's output: how fast it is learnt
ACTION_DIM = 64  # of what a history of actions means
DEGREE = 4  # of the polynomials in x and y: enough for a turn of 14 degrees to a tenth of a pixel
LEVELS = (1, 2, 4, 8, 16)  # pixels to a side of what is compared: the coarse find the motion, the fine its fractions
TOLERANCE = 0.1  # standard deviations of colour below which a difference counts as its square


class Motion(nn.Module):
    """A frame's painting and the last actions -> its codes after the next step, as far as they were in view.

    Displacements are in frame halves: (x, y) in -1..1, where the content of a place of the next frame was in this one.
    """

    polynomial: Tensor
    places: Tensor

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        self.cell, self.patch = config.cell, config.patch
        self.grid, self.size = config.code_grid, config.code_grid * config.cell
        self.ring = config.cell // 2  # pixels around a code that are seen with it
        polynomial = _polynomial(self.size)
        told = len(config.action_names) + 1
        self.actions = table(nn.Parameter(torch.randn(config.action_history, told, ACTION_DIM)))
        self.camera = table(nn.Parameter(torch.zeros(ACTION_DIM + 1, 2 * len(polynomial))))
        self.window = nn.Linear((config.cell + 2 * self.ring) ** 2 * 4, config.motion_dim)
        if config.pose:
            self.expected = nn.Linear((config.cell + 2 * self.ring) ** 2 * 3, config.motion_dim, bias=False)
            nn.init.zeros_(self.expected.weight)
        self.read = nn.Linear(config.motion_dim, config.carried_dim)
        self.register_buffer("polynomial", polynomial, persistent=False)
        self.register_buffer("places", _places(self.size), persistent=False)

    def forward(self, painting: Tensor, told: Tensor, expected: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what is carried along to each patch (m n links*c), and the displacement of every pixel (m 2 H W).

        Args:
            painting: (m 3 H W), m frames as their codes look.
            told: (m lags), the actions before the next frame, the oldest first; -1 where it is not told.
            expected: (m 3 H W), the painting that the belief expects next; None where there is no belief.
        """
        displacement = self.displacement(told)
        hidden = self.window(self.warp(painting, displacement.detach()))
        if expected is not None:
            hidden = hidden + self.expected(self._windows(expected))
        hidden = F.relu(hidden).square()
        carried = rearrange(self.read(hidden), "m (h i) (w j) c -> m (h w) (i j c)", i=self.patch, j=self.patch)
        return carried, displacement

    def displacement(self, told: Tensor) -> Tensor:
        """Return the displacement of every pixel after the actions `told` (m lags): (m 2 H W)."""
        with single_precision(told.device):  # fractions of a pixel are lost in half precision
            meanings = [actions[told[:, lag]] for lag, actions in enumerate(self.actions)]
            history = F.pad(ACTION_DIM**-0.5 * F.relu(torch.stack(meanings).sum(0)), (0, 1), value=1.0)
            polynomials = rearrange(history @ self.camera, "m (xy p) -> m xy p", xy=2) @ self.polynomial
        return CAMERA_SCALE * polynomials.unflatten(-1, (self.size, self.size))

    def warp(self, painting: Tensor, displacement: Tensor) -> Tensor:
        """Return what each code and its ring will look like, and which of it was in view: (m h w pixels*4)."""
        seen = F.pad(painting, (0, 0, 0, 0, 0, 1), value=1.0)
        return self._windows(_sample(seen, self.places + displacement, padding="zeros"))

    def _windows(self, maps: Tensor) -> Tensor:
        """Return what is at each code and in the ring around it: (m c H W) -> (m h w c*pixels)."""
        size = self.cell + 2 * self.ring
        windows = F.pad(maps, (self.ring,) * 4).unfold(2, size, self.cell).unfold(3, size, self.cell)
        return rearrange(windows, "m c h w i j -> m h w (c i j)")

    def loss(self, displacement: Tensor, before: Tensor, after: Tensor, *, finest: int = 1) -> Tensor:
        """Return how far the warped painting is from the next, in standard deviations (Charbonnier), over the levels.

        Args:
            displacement: (m 2 H W), of the m frames `before`.
            before, after: (m 3 H W), paintings of the frames and of the frames that follow.
            finest: pixels to a side of the finest level that counts.
        """
        losses = []
        for level in LEVELS:
            if level >= finest:
                source, target, moved = (F.avg_pool2d(maps, level) for maps in (before, after, displacement))
                warped = _sample(source, F.avg_pool2d(self.places, level) + moved, padding="border")
                losses.append(((warped - target).square() + TOLERANCE**2).sqrt().mean() - TOLERANCE)
        return torch.stack(losses).mean()


def paint(codes: Tensor, appearances: Tensor) -> Tensor:
    """Return codes (b t h w), each drawn as it looks in appearances (k 3 cell cell): (b t 3 H W)."""
    return rearrange(appearances[codes], "b t h w c i j -> b t c (h i) (w j)")


def _sample(maps: Tensor, places: Tensor, *, padding: str) -> Tensor:
    """Return maps (m c h w) read at places (m 2 h w), between pixels by bilinear interpolation."""
    return F.grid_sample(
        maps.float(), rearrange(places, "m xy h w -> m h w xy"), padding_mode=padding, align_corners=False
    )


def _places(size: int) -> Tensor:
    """Return the middles of the pixels in frame halves: (1 2 size size), x before y."""
    line = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y]).unsqueeze(0)


def _polynomial(size: int) -> Tensor:
    """Return x^i y^j of each pixel, for all i + j <= DEGREE: (terms size*size).

    The flow of a plane seen by a moving camera is such a polynomial to second order (Longuet-Higgins & Prazdny 1980).
    """
    x, y = _places(size)[0].flatten(1)
    return torch.stack([x**i * y**j for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)])
