"""The parts of both transformers: attention over positions of a grid, rotary positions, and the MLP."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

BIAS_SCALE = 8.0  # learning-rate multiplier of the table: it has to become differences of several units

LARGEST_EXPONENT = 80.0  # scores up to this need no shift before an exponential, in single precision or bfloat16


def rotary_table(grid: int, head_dim: int) -> Tensor:
    """Return cosines and sines for the positions of a grid: (2 n head_dim).

    Half of a head's channels turn with the row and half with the column (rotary positions, Su et al. 2021, in two
    dimensions), so attention depends on where patches lie relative to one another: a shift of the view becomes one
    thing to learn.
    """
    quarter = head_dim // 4
    speeds = 2.0 * (0.05 ** (torch.arange(quarter) / max(1, quarter - 1)))  # radians a patch: from 2 to 0.1
    row, column = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    angles = torch.cat([row.flatten()[:, None] * speeds, column.flatten()[:, None] * speeds], dim=1)
    angles = torch.cat([angles, angles], dim=1)
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn queries or keys (... n head_dim) by their positions' angles, table (2 n head_dim)."""
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    cos, sin = table.to(x.dtype)
    return x * cos + turned * sin


class Attention(nn.Module):
    """Queries, keys and values of normalised inputs, and the way back; what attends to what is the caller's choice."""

    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        # Normalised queries and keys alone cannot look sharply at one place among hundreds.
        self.gain = table(nn.Parameter(torch.full((dim // head_dim, 1, 1), 2.0)))
        nn.init.normal_(self.qkv.weight, std=dim**-0.5)
        nn.init.zeros_(self.out.weight)  # each block starts as the identity

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q, k, v (... heads n head_dim) of (... n d), ready for `attend`.

        Keys have unit mean square, queries their head's gain and the usual 1 / sqrt(head_dim).
        """
        q, k, v = rearrange(self.qkv(x), "... n (three heads c) -> three ... heads n c", three=3, c=self.head_dim)
        gain = (self.gain * self.head_dim**-0.5).to(q.dtype)
        return F.rms_norm(q, (self.head_dim,)) * gain, F.rms_norm(k, (self.head_dim,)), v

    def merge(self, x: Tensor) -> Tensor:
        """Return the heads' outputs (... heads n head_dim) as (... n d)."""
        out: Tensor = self.out(rearrange(x, "... heads n c -> ... n (heads c)"))
        return out


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return softmax(q k^T + bias) v of (... n c), for queries that carry their scale.

    On a CPU it is written out: torch's fused kernel takes several times as long for the backward pass, at a dozen keys
    as at 256, and it has none for the bias. A single query, in imagination, has no backward pass.
    """
    if q.is_cuda or q.shape[-2] == 1:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
    scores = q @ k.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    weights = scores.softmax(-1).to(v.dtype)
    return weights @ v


class ActionAttentionBias(nn.Module):
    """A learned bias of the attention scores for each action, head and relative position of two patches.

    An action that moves the whole view is learnt by such a table long before it is learnt by queries and keys.
    """

    def __init__(self, *, heads: int, actions: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.table = table(nn.Parameter(torch.zeros(actions, heads, 2 * grid - 1, 2 * grid - 1)))

    def forward(self, actions: Tensor) -> Tensor:
        """Return what to add to the scores of patch p for patch q (m heads n n), for actions (m)."""
        g = self.grid
        # Every g x g window of distances is what one patch needs; the windows run against its row and column.
        windows = (BIAS_SCALE * self.table[actions]).unfold(2, g, 1).unfold(3, g, 1).flip(2, 3)
        bias: Tensor = rearrange(windows, "m heads r c i j -> m heads (r c) (i j)")
        return bias


class FrozenActionAttentionBias(nn.Module):
    """The same for a table that is not trained any more: every action's bias, ready to be looked up."""

    def __init__(self, bias: ActionAttentionBias, dtype: torch.dtype) -> None:
        super().__init__()
        actions = torch.arange(len(bias.table), device=bias.table.device)
        self.register_buffer("bias", bias(actions).detach().to(dtype))

    def forward(self, actions: Tensor) -> Tensor:
        """Return (m heads n n) for actions (m); -1 is the last."""
        return self.bias[actions]  # type: ignore[index]


class MLP(nn.Module):
    """Two matrices with a squared ReLU between (So et al. 2021)."""

    def __init__(self, dim: int, expansion: int) -> None:
        super().__init__()
        self.up = nn.Linear(dim, expansion * dim, bias=False)
        self.down = nn.Linear(expansion * dim, dim, bias=False)
        nn.init.normal_(self.up.weight, std=dim**-0.5)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(F.relu(self.up(x)).square())
        return out


def table(parameter: nn.Parameter) -> nn.Parameter:
    """Mark an embedding or output table, which the optimizer treats like a vector and not like a hidden matrix."""
    parameter.is_table = True  # type: ignore[attr-defined]
    return parameter
