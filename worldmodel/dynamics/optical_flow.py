"""Optical flow: how the view moves between two frames under the last actions, and features of the warped frame.

Most of the next frame is this one, displaced, by fractions of a code too. A code cannot be displaced by a fraction; its
mean appearance can. So codes are rendered as images, the image is warped by the flow of the last actions, and a small
network reads features of each code of the next frame off the warped image.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import DynamicsConfig
from ..runtime import single_precision
from .expectation import Expectation
from .layers import table

FLOW_SCALE = 0.5  # frame halves of displacement in one unit of the network's output: how fast it is learnt
ACTION_DIM = 64  # of the embedding of a history of actions
DEGREE = 4  # of the polynomials in x and y: enough for a view turned by 14 degrees, to a tenth of a pixel
LEVELS = (1, 2, 4, 8, 16)  # pixels to a side of what is compared: the coarse find the motion, the fine its fractions
TOLERANCE = 0.1  # standard deviations of colour below which a difference counts as its square


class OpticalFlow(nn.Module):
    """A frame's image and the last actions -> features of the next frame's codes, as far as they were in view.

    Displacements are in frame halves: (x, y) in -1..1, where the content of a place of the next frame was in this one.
    """

    polynomial: Tensor
    places: Tensor

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        self.cell, self.patch = config.code_pixels, config.patch
        self.grid, self.size = config.code_grid, config.code_grid * config.code_pixels
        self.ring = config.code_pixels // 2  # pixels around a code that are read with it
        polynomial = _polynomial(self.size)
        actions = len(config.action_names) + 1  # the last for "unknown"
        self.actions = table(nn.Parameter(torch.randn(config.action_history, actions, ACTION_DIM)))
        self.camera = table(nn.Parameter(torch.zeros(ACTION_DIM + 1, 2 * len(polynomial))))
        self.window = nn.Linear((self.cell + 2 * self.ring) ** 2 * 4, config.flow_hidden_dim)
        if config.expectation:
            self.expected = nn.Linear((self.cell + 2 * self.ring) ** 2 * 3, config.flow_hidden_dim, bias=False)
            nn.init.zeros_(self.expected.weight)
        self.read = nn.Linear(config.flow_hidden_dim, config.flow_dim)
        self.register_buffer("polynomial", polynomial, persistent=False)
        self.register_buffer("places", _places(self.size), persistent=False)

    def forward(self, image: Tensor, history: Tensor, expectation: Expectation | None = None) -> tuple[Tensor, Tensor]:
        """Return features of each patch (m n links*f), and the displacement of every pixel (m 2 H W).

        Args:
            image: (m 3 H W), m frames as their codes look.
            history: (m lags), the actions before the next frame, the oldest first; -1 where it is unknown.
            expectation: (m), of the next frames; None where nothing is expected.
        """
        displacement = self.displacement(history)
        hidden = self.window(self.warp(image, displacement.detach()))
        if expectation is not None:
            hidden = hidden + self.expected(self._windows(expectation.image)) * _is_expected(expectation)
        hidden = F.relu(hidden).square()
        features = rearrange(self.read(hidden), "m (h i) (w j) c -> m (h w) (i j c)", i=self.patch, j=self.patch)
        return features, displacement

    def displacement(self, history: Tensor) -> Tensor:
        """Return the displacement of every pixel after the actions `history` (m lags): (m 2 H W)."""
        with single_precision(history.device):  # fractions of a pixel are lost in half precision
            embedded = [actions[history[:, lag]] for lag, actions in enumerate(self.actions)]
            hidden = F.pad(ACTION_DIM**-0.5 * F.relu(torch.stack(embedded).sum(0)), (0, 1), value=1.0)
            # A product rounds by its number of rows and by where they lie. Imagined frames have one each, of their own
            # memory: no game depends on those beside it.
            parts = [hidden] if torch.is_grad_enabled() else [row.clone() for row in hidden.split(1)]
            moved = [rearrange(part @ self.camera, "m (xy p) -> m xy p", xy=2) @ self.polynomial for part in parts]
        return FLOW_SCALE * torch.cat(moved).unflatten(-1, (self.size, self.size))

    def warp(self, image: Tensor, displacement: Tensor) -> Tensor:
        """Return what each code and its ring will look like, and which of it was in view: (m h w pixels*4)."""
        in_view = F.pad(image, (0, 0, 0, 0, 0, 1), value=1.0)
        return self._windows(_sample(in_view, self.places + displacement, padding="zeros"))

    def _windows(self, maps: Tensor) -> Tensor:
        """Return what is at each code and in the ring around it: (m c H W) -> (m h w c*pixels)."""
        size = self.cell + 2 * self.ring
        windows = F.pad(maps, (self.ring,) * 4).unfold(2, size, self.cell).unfold(3, size, self.cell)
        return rearrange(windows, "m c h w i j -> m h w (c i j)")

    def loss(self, displacement: Tensor, before: Tensor, after: Tensor, *, finest: int = 1) -> Tensor:
        """Return how far the warped image is from the next, in standard deviations (Charbonnier), over the levels.

        Args:
            displacement: (m 2 H W), of the m frames `before`.
            before, after: (m 3 H W), images of the frames and of the frames that follow.
            finest: pixels to a side of the finest level that counts.
        """
        losses = []
        for level in LEVELS:
            if level >= finest:
                source, target, moved = (F.avg_pool2d(maps, level) for maps in (before, after, displacement))
                warped = _sample(source, F.avg_pool2d(self.places, level) + moved, padding="border")
                losses.append(((warped - target).square() + TOLERANCE**2).sqrt().mean() - TOLERANCE)
        return torch.stack(losses).mean()


def render(codes: Tensor, appearance: Tensor) -> Tensor:
    """Return codes (b t h w) as an image, each as it looks in `appearance` (k 3 cell cell): (b t 3 H W)."""
    return rearrange(appearance[codes], "b t h w c i j -> b t c (h i) (w j)")


def standardised_appearance(colours: Tensor) -> Tensor:
    """Return mean colours of codes (k cell cell 3), in any unit, standardised by channel: (k 3 cell cell)."""
    colours = colours.float().movedim(-1, 1)
    mean, deviation = colours.mean((0, 2, 3), keepdim=True), colours.std((0, 2, 3), keepdim=True)
    return (colours - mean) / deviation.clamp(min=1e-6)


def _is_expected(expectation: Expectation) -> Tensor:
    """Return 1 for frames that are expected to look like something, else 0: (m 1 1 1)."""
    return (expectation.precision > 0).to(expectation.image.dtype).view(-1, 1, 1, 1)


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
