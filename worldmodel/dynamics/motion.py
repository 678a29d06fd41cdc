"""Motion compensation: where each patch of the next frame was in this one, and the codes that were there.

Most of the next frame is this one, moved. Attention between patches carries too little to copy codes exactly, so the
context transformer is helped the way a video codec is: a displacement for each patch, and the codes around the
displaced place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import DynamicsConfig
from .layers import table

SHARPNESS = 200.0  # nats by which a match is less likely for each unit of mean squared difference of its vectors
UNRELATED = 2.0  # mean squared difference of two unrelated codes: their vectors are standardised
STRANGER = 0.35  # mean squared difference from which on a patch counts as new
CAMERA_SCALE = 8.0  # codes of displacement in one unit of the network's output: how fast it is learnt
LOCAL_SCALE = 2.0  # the same for what is corrected patch by patch
SPREAD = 1.0  # codes: the deviation of a displacement
ACTION_DIM = 64  # of what a history of actions means
RING = 2  # codes around a patch that are carried along with it


@dataclass(frozen=True)
class Origins:
    """Where the patches of the next frame come from: near a displacement, from anywhere within reach, or from nowhere.

    From nowhere comes what was out of view or hidden.
    """

    displacement: Tensor  # (... n 2), in codes as (x, y)
    shares: Tensor  # (... n 3), logarithms: near the displacement, from anywhere, from nowhere

    def unflatten(self, shape: torch.Size) -> Origins:
        """Return those of (m) frames as (b t)."""
        return Origins(self.displacement.unflatten(0, shape), self.shares.unflatten(0, shape))

    def at(self, times: Tensor) -> Origins:
        """Return those of some times, flattened: (b t n c) -> (b*times n c)."""
        return Origins(self.displacement[:, times].flatten(0, 1), self.shares[:, times].flatten(0, 1))


class Motion(nn.Module):
    """Features of a frame's patches -> where each patch of the next frame comes from, and what is there."""

    displacements: Tensor
    places: Tensor
    polynomial: Tensor

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        self.rows, self.columns = config.reach_rows, config.reach_columns
        self.patch, self.grid = config.patch, config.code_grid
        dim, hidden = config.context_dim, config.motion_dim
        polynomial = _polynomial(config.patch_grid)
        told = len(config.action_names) + 1
        self.actions = table(nn.Parameter(torch.randn(config.action_history, told, ACTION_DIM)))
        self.gate = nn.Linear(ACTION_DIM, hidden)
        self.camera = nn.Linear(ACTION_DIM, 2 * polynomial.shape[1])
        self.where = nn.Linear(dim, hidden, bias=False)
        self.origins = nn.Linear(hidden, 5)  # a displacement and three shares
        self.carried = nn.Linear((config.patch + 2 * RING) ** 2 * (config.code_dim + 1) + 2, hidden, bias=False)
        self.state = nn.Linear(dim, hidden, bias=False)
        self.out = nn.Linear(hidden, dim, bias=False)
        for small in (self.camera, self.origins):
            nn.init.zeros_(small.weight)
            nn.init.zeros_(small.bias)
            small.weight = table(nn.Parameter(small.weight.detach()))
        nn.init.zeros_(self.out.weight)
        self.register_buffer("polynomial", polynomial, persistent=False)
        self.register_buffer("displacements", _displacements(self.rows, self.columns), persistent=False)
        self.register_buffer("places", _places(config.patch_grid, config.patch), persistent=False)

    def forward(self, x: Tensor, vectors: Tensor, told: Tensor) -> tuple[Tensor, Tensor, Origins]:
        """Return what to add to each patch's stream (m n d), what is carried along (m n hidden), and from where.

        Args:
            x: (m n d), the streams of m frames' patches.
            vectors: (m h w c), the vectors of the same frames' codes.
            told: (m lags), the actions before the next frame, the oldest first; -1 where it is not told.
        """
        x = F.rms_norm(x, x.shape[-1:])
        origins = self._origins(x, told)
        carried = self.carried(self.carry(vectors, origins.displacement.detach()).to(x.dtype))
        hidden = F.relu(carried + self.state(x)).square()
        return self.out(hidden), hidden, origins

    def _origins(self, x: Tensor, told: Tensor) -> Origins:
        """Return where patches come from: a camera that moves as the actions say, corrected by what is seen."""
        history = self.history(told)
        # Scaled so that a step of the optimizer moves a displacement by hundredths of a code.
        gate = len(self.gate.bias) ** -0.5 * self.gate(history)
        local = self.origins(F.relu(self.where(x)).square() * gate.unsqueeze(1)).float()
        displacement = self.view(history) + LOCAL_SCALE * local[..., :2]
        return Origins(displacement, local[..., 2:].log_softmax(-1))

    def history(self, told: Tensor) -> Tensor:
        """Return what the last actions (m lags) mean to the view: (m d)."""
        meanings = [actions[told[:, lag]] for lag, actions in enumerate(self.actions)]
        return ACTION_DIM**-0.5 * F.relu(torch.stack(meanings).sum(0))

    def view(self, history: Tensor) -> Tensor:
        """Return by how much the camera alone displaces each patch, in codes: (m d) -> (m n 2)."""
        camera = rearrange(self.camera(history), "m (xy p) -> m p xy", xy=2).float()
        return CAMERA_SCALE * (self.polynomial @ camera)

    def carry(self, vectors: Tensor, displacement: Tensor) -> Tensor:
        """Return the vectors in and around each displaced patch, and how far it lies between codes.

        The displacement is rounded, so that what is carried are codes and not means of codes: (m n places*(c+1)+2). The
        last channel of each place says whether it was in view.
        """
        seen = rearrange(F.pad(vectors.float(), (0, 1), value=1.0), "m h w c -> m c h w")
        whole = displacement.round()
        points = (self.places + whole.unsqueeze(-2) + 0.5) * (2 / self.grid) - 1
        read = F.grid_sample(seen, points, mode="nearest", padding_mode="zeros", align_corners=False)
        return torch.cat([rearrange(read, "m c n p -> m n (p c)"), displacement - whole], dim=-1)

    def loss(self, origins: Origins, before: Tensor, after: Tensor, *, spread: float = SPREAD) -> Tensor:
        """Return how badly the displacements explain the next frame, in nats a patch.

        The likelihood of a patch is a mixture: it is a copy of what lies at the displacement, or of what lies anywhere
        else, or it is new. The mixture finds the motion by itself, whatever the game; no flow has to be known.

        Args:
            origins: of the m frames `before`.
            before, after: (m h w c), the vectors of the frames and of the frames that follow.
            spread: the deviation of a displacement, in codes.
        """
        match = -SHARPNESS * self._pool(mismatches(before, after, self.rows, self.columns))
        away = (self.displacements - origins.displacement.unsqueeze(-2)).square().sum(-1) / spread**2
        near = -0.5 * away - math.log(2 * math.pi * spread**2)
        shares = origins.shares
        ways = torch.stack(
            [
                shares[..., 0] + (near + match).logsumexp(-1),
                shares[..., 1] + match.logsumexp(-1) - math.log(len(self.displacements)),
                shares[..., 2] - SHARPNESS * STRANGER,
            ]
        )
        return -ways.logsumexp(0).mean()

    def _pool(self, differences: Tensor) -> Tensor:
        """Return the mean over each patch and its ring: (m h rows w columns) -> (m n displacements)."""
        maps = rearrange(differences, "m h r w c -> m (r c) h w")
        size = self.patch + 2 * RING
        return F.avg_pool2d(maps, size, self.patch, RING, count_include_pad=False).flatten(2).transpose(1, 2)


@torch.no_grad()
def mismatches(before: Tensor, after: Tensor, rows: int, columns: int) -> Tensor:
    """Return the mean squared difference of each code's vector from every displaced one: (m h 2*rows+1 w 2*columns+1).

    Args:
        before, after: (m h w c), where displaced places are looked up, and what is compared with them.
        rows, columns: the farthest displacement. Places outside the frame differ as much as unrelated codes.
    """
    m, h, w, channels = before.shape
    before, after = before.float(), after.float()
    # |a - b|^2 as one product, of [-2 a, |a|^2, 1] and [b, 1, |b|^2].
    norms, ones = before.square().sum(-1, keepdim=True), before.new_ones(m, h, w, 1)
    source = torch.cat([-2 * before, norms, ones], dim=-1) / channels
    target = torch.cat([after, ones, after.square().sum(-1, keepdim=True)], dim=-1)
    differences = before.new_full((m, h, 2 * rows + 1, w, w + 2 * columns), UNRELATED)
    for row in range(max(-rows, 1 - h), min(rows, h - 1) + 1):
        first, last = max(0, -row), min(h, h - row)
        found = target[:, first:last] @ source[:, first + row : last + row].transpose(-1, -2)
        differences[:, first:last, row + rows, :, columns : columns + w] = found
    # Of each row of pairs only the band within reach is used.
    strides = differences.stride()
    band = (*strides[:3], strides[3] + strides[4], strides[4])
    return differences.as_strided((m, h, 2 * rows + 1, w, 2 * columns + 1), band)


def _displacements(rows: int, columns: int) -> Tensor:
    """Return every displacement within reach, in codes as (x, y), row by row: (displacements 2)."""
    y, x = torch.meshgrid(torch.arange(-rows, rows + 1), torch.arange(-columns, columns + 1), indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=-1).float()


def _polynomial(grid: int) -> Tensor:
    """Return 1, x, y, x^2, xy and y^2 of each patch, x and y in -1..1: (n 6).

    The flow of a plane seen by a moving camera is such a polynomial (Longuet-Higgins & Prazdny 1980).
    """
    line = (torch.arange(grid) + 0.5) / grid * 2 - 1
    y, x = (axis.flatten() for axis in torch.meshgrid(line, line, indexing="ij"))
    return torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y], dim=-1)


def _places(grid: int, patch: int) -> Tensor:
    """Return where the codes of each patch and of its ring lie, in codes as (x, y): (n places 2)."""
    inner = torch.arange(-RING, patch + RING)
    y, x = torch.meshgrid(inner, inner, indexing="ij")
    row, column = torch.meshgrid(patch * torch.arange(grid), patch * torch.arange(grid), indexing="ij")
    x = column.flatten()[:, None] + x.flatten()
    y = row.flatten()[:, None] + y.flatten()
    return torch.stack([x, y], dim=-1).float()
