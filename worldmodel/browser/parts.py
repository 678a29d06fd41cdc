"""The layers of both transformers for ONNX: one frame, no batch axis, weights laid out as they are multiplied."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..dynamics.layers import MLP, Attention

EPSILON = float(np.finfo(np.float32).eps)  # of torch's rms_norm in single precision


def constant(weight: Tensor) -> nn.Parameter:
    """Return a weight as it is, in single precision."""
    return nn.Parameter(weight.detach().float().cpu().contiguous().clone(), requires_grad=False)


def transposed(weight: Tensor) -> nn.Parameter:
    """Return a weight (out in) as (in out): what stands on the right of a product with rows (m in)."""
    return constant(weight.detach().t())


def normalised(x: Tensor) -> Tensor:
    """Return x (... c) divided by the root of its mean square."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON)


class RotaryGraph(nn.Module):
    """Turns queries or keys (n heads c) by the angles of their positions, a table (2 n c)."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.cos, self.sin = constant(table[0][:, None]), constant(table[1][:, None])

    def forward(self, x: Tensor, rows: slice = slice(None)) -> Tensor:
        half = x.shape[-1] // 2
        turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
        return x * self.cos[rows] + turned * self.sin[rows]


class AttentionGraph(nn.Module):
    """Queries, keys and values (n heads c) of normalised inputs (n d)."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.head_dim = attention.head_dim
        self.qkv, self.out = transposed(attention.qkv.weight), transposed(attention.out.weight)
        self.heads = self.out.shape[0] // self.head_dim
        self.gain = constant(attention.gain.view(1, self.heads, 1) * self.head_dim**-0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (x @ self.qkv).view(len(x), 3, self.heads, self.head_dim).unbind(1)
        return normalised(q) * self.gain, normalised(k), v

    def merge(self, heads: Tensor) -> Tensor:
        """Return the heads' outputs (heads n c) as (n d)."""
        n = heads.shape[1]
        out: Tensor = heads.transpose(0, 1).reshape(n, -1) @ self.out
        return out


class MLPGraph(nn.Module):
    """x (n d) and what the MLP adds to it."""

    def __init__(self, mlp: MLP) -> None:
        super().__init__()
        self.up, self.down = transposed(mlp.up.weight), transposed(mlp.down.weight)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + F.relu(normalised(x) @ self.up).square() @ self.down
        return out
