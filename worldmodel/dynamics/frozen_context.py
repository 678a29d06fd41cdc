"""A block of the context transformer for imagination on a CPU: one frame of each game, and nothing is trained.

The same function as `context.ContextBlock`. Products are in the weights' dtype, everything between them in single
precision, which a CPU is quicker at; the gain of the queries is in the rotary tables, and a single query a position
attends to its past in sums of NumPy's, which are too small for a product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from .cache import ContextCache
from .layers import LARGEST_EXPONENT, Attention, FrozenActionAttentionBias

if TYPE_CHECKING:
    from .context import ContextBlock

EPSILON = float(np.finfo(np.float32).eps)  # of torch's rms_norm


class FrozenContextBlock(nn.Module):
    """A `ContextBlock` whose weights stay as they are. Without a cache it is that block."""

    cos: Tensor
    sin: Tensor

    def __init__(self, block: ContextBlock, rotary: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.block, self.dtype = block, dtype
        heads, head_dim = block.spatial.gain.shape[0], block.spatial.head_dim
        gains = torch.ones(2, heads, head_dim)  # of queries and keys
        gains[0] = block.spatial.gain.detach().view(-1, 1) * head_dim**-0.5
        signs = torch.ones(head_dim)
        signs[: head_dim // 2] = -1
        self.register_buffer("cos", rotary[0][:, None, None] * gains, persistent=False)
        self.register_buffer("sin", rotary[1][:, None, None] * gains * signs, persistent=False)
        largest = float(block.spatial.gain.abs().max()) * head_dim**0.5
        if isinstance(block.action_bias, FrozenActionAttentionBias):
            largest += float(block.action_bias.bias.abs().max())
        self.needs_shift = largest > LARGEST_EXPONENT

    def forward(self, x: Tensor, actions: Tensor, rotary: Tensor, cache: ContextCache | None, layer: int) -> Tensor:
        """Return x (b 1 n d), in single precision, after the block, for actions (b 1)."""
        if cache is None:
            out: Tensor = self.block(x, actions, rotary, cache, layer)
            return out
        x = x[:, 0].float()
        scale, shift = self.block.modulation[actions].float().chunk(2, dim=-1)  # (b 1 d)
        x = x + self._attend_frame(_normalised(x).mul_(1 + scale).add_(shift), actions[:, 0])
        x += self._attend_past(_normalised(x), cache, layer)
        hidden = self.block.mlp.up(_normalised(x).to(self.dtype)).relu_()
        x += self.block.mlp.down(hidden.square_())
        return x.unsqueeze(1)

    def _heads(self, attention: Attention, x: Tensor) -> Tensor:
        """Return what x (b n d) asks, is found by and tells: (b n 3 heads c), not yet normalised."""
        return attention.qkv(x.to(self.dtype)).unflatten(-1, (3, -1, attention.head_dim))

    def _attend_frame(self, x: Tensor, actions: Tensor) -> Tensor:
        """Return what each patch takes from its own frame: (b n d) -> (b n d)."""
        qkv = self._heads(self.block.spatial, x)
        qk = _normalised(qkv[:, :, :2].float())
        half = qk.shape[-1] // 2
        turned = torch.cat([qk[..., half:], qk[..., :half]], dim=-1)
        qk.mul_(self.cos).addcmul_(turned, self.sin)
        q, k = qk.permute(2, 0, 3, 1, 4).to(self.dtype, memory_format=torch.contiguous_format)
        scores = q @ k.mT
        if self.block.action_bias is not None:
            scores += self.block.action_bias(actions)
        if self.needs_shift:
            scores -= scores.amax(-1, keepdim=True)
        weights = scores.exp_()
        attended = (weights @ qkv[:, :, 2].transpose(1, 2)).float()
        attended /= weights.sum(-1, keepdim=True, dtype=torch.float32)
        out: Tensor = self.block.spatial.out(attended.transpose(1, 2).flatten(2).to(self.dtype))
        return out

    def _attend_past(self, x: Tensor, cache: ContextCache, layer: int) -> Tensor:
        """Return what each patch takes from the same patch of the past frames: (b n d) -> (b n d)."""
        attention, (b, n, _) = self.block.temporal, x.shape
        qkv = self._heads(attention, x).flatten(0, 1).float()
        qk = _normalised(qkv[:, :2])
        q = qk[:, 0] * (attention.gain.view(-1, 1).float() * attention.head_dim**-0.5)
        keys, values = cache.extend(layer, qk[:, 1].unsqueeze(2), qkv[:, 2].unsqueeze(2))
        scores = torch.from_numpy(np.einsum("phc,phkc->phk", q.numpy(), keys.numpy()))
        bias = self.block.bias_of_ages(cache.ages(x.device).unsqueeze(-2)).movedim(-2, 1)  # (1 or b, 1 heads window)
        weights = scores.unflatten(0, (b, n)).add_(bias).softmax(-1).flatten(0, 1)
        attended = torch.from_numpy(np.einsum("phk,phkc->phc", weights.numpy(), values.numpy()))
        out: Tensor = attention.out(attended.flatten(1).to(self.dtype)).unflatten(0, (b, n))
        return out


def _normalised(x: Tensor) -> Tensor:
    """Return x (... c) divided by the root of its mean square, as a tensor of its own."""
    square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
    return x * square.add_(EPSILON).rsqrt_()
