"""The belief: one vector for what is known of the world, kept by a recurrent network, and the view it expects next.

Attention looks at the patches of a few past frames; what is behind a corner is in none of them. But a game's world is
often the same in every episode: where the player is says what will come into view. A belief state (Gregor et al. 2019,
arXiv 1906.09237) finds out where. It takes in each frame with the action taken after seeing it, and learns to paint the
next frame from its vector alone, also at the end of stretches in which it saw nothing. It costs a small part of what
the transformer costs, so it sees many times as many frames in the same time.
"""

from __future__ import annotations

import itertools
import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import DynamicsConfig
from ..runtime import single_precision
from .layers import table

SIDE = 4  # of the coarsest maps, at most so many places
WIDEST = 256  # channels of the coarsest maps
NARROWEST = 64  # of the finest that look
DRAWING = 128  # of the finest that paint, at least
ACTION_DIM = 64


class Belief(nn.Module):
    """Frames and actions so far -> a vector, and from it the painting of the next frame.

    The painting is the mean of all that may come: sharp where the belief is sure, blurred where it is not.
    """

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        self.dim = config.belief_dim
        halvings = _halvings(config.code_grid)
        side = config.code_grid // 2**halvings
        widths = [min(WIDEST, NARROWEST * 2**level) for level in range(max(1, halvings))]
        size, stride = (4, 2) if halvings else (3, 1)
        look: list[nn.Module] = []
        for before, after in itertools.pairwise([config.code_dim, *widths]):
            look += [nn.Conv2d(before, after, size, stride=stride, padding=1), nn.ReLU()]
        self.look = nn.Sequential(*look)
        self.seen = nn.Linear(widths[-1] * side**2, self.dim)
        self.actions = table(nn.Parameter(torch.randn(len(config.action_names) + 1, ACTION_DIM)))
        self.remember = nn.GRU(self.dim + ACTION_DIM + 1, self.dim, batch_first=True)
        # The way back ends at half the codes' resolution: a place of the finest maps paints all its pixels.
        drawn = [max(width, DRAWING) for width in reversed(widths)]
        self.coarsest = (drawn[0], side, side)
        self.expect = nn.Linear(self.dim, math.prod(self.coarsest))
        draw: list[nn.Module] = [nn.ReLU()]
        for before, after in itertools.pairwise(drawn):
            draw += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
        self.pixels = config.cell * (2 if halvings else 1)  # to a side of what a place paints
        self.draw = nn.Sequential(*draw, nn.Conv2d(drawn[-1], 3 * self.pixels**2, 1))
        for network in (self.look, self.draw):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, vectors: Tensor, actions: Tensor, sighted: Tensor, state: Tensor | None = None) -> Tensor:
        """Return what is believed after each frame and the action that follows it: (b t d).

        Args:
            vectors: (b t h w c), of each frame's codes.
            actions: (b t), -1 where it is not told.
            sighted: bool (b t), False where the frame is not looked at.
            state: (b d), what was believed before; None if nothing was seen yet.
        """
        b, t = actions.shape
        maps = self.look(rearrange(vectors, "b t h w c -> (b t) c h w"))
        seen = F.rms_norm(self.seen(maps.flatten(1)), (self.dim,)).float().unflatten(0, (b, t))
        sighted = sighted.unsqueeze(-1).float()
        inputs = torch.cat([seen * sighted, self.actions[actions], sighted], dim=-1)
        with single_precision(vectors.device):  # what is added up over hundreds of frames
            beliefs: Tensor = self.remember(inputs, None if state is None else state.unsqueeze(0))[0]
        return beliefs

    def paint(self, beliefs: Tensor) -> Tensor:
        """Return the expected painting of the next frame, in standardised colours: (m d) -> (m 3 H W)."""
        maps = self.expect(beliefs).unflatten(1, self.coarsest).contiguous(memory_format=torch.channels_last)
        return F.pixel_shuffle(self.draw(maps).float(), self.pixels)


def _halvings(side: int) -> int:
    """Return how often a grid is halved before it is coarse enough, or odd."""
    return 1 + _halvings(side // 2) if side > SIDE and side % 2 == 0 else 0
