"""The code decoder in NumPy: the same codes as `CodeDecoder.sample`, without what a tensor library costs a call.

A wave is a hundred operations on a dozen rows. On a CPU torch spends most of such a wave on calling them; NumPy calls
them in a fifth of the time, and everything that does not depend on the codes is done once a frame or once a model.
Rows are kept in the order in which they are sampled, so a wave is a slice.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .decoder import ChainHead, CodeDecoder, DecoderBlock
from .features import Features
from .layers import LARGEST_EXPONENT
from .sampling import Array, sample_in_numpy

EPSILON = float(np.finfo(np.float32).eps)  # of torch's rms_norm in single precision


class NumpyDecoder:
    """A copy of a `CodeDecoder`'s weights, prepared for sampling in single precision.

    With `bfloat16`, products with the larger matrices are computed in that: quicker for the rows of several games.
    """

    def __init__(self, decoder: CodeDecoder, code_vectors: Tensor, *, bfloat16: bool = False) -> None:
        order = decoder.order
        self.bounds = order.bounds
        self.sequence = order.sequence
        self.links = decoder.config.codes_per_patch
        place = np.empty(len(order.sequence) + 1, np.int64)  # position -> where it stands in the sequence
        place[order.sequence] = np.arange(len(order.sequence))
        place[-1] = len(order.sequence)
        self.neighbours = place[order.neighbours[order.sequence]]
        self.code_vectors = _array(code_vectors)
        self.inputs = _matrix(torch.cat([decoder.features.weight, decoder.from_flow.weight], dim=1), bfloat16)
        self.bias = _array(decoder.features.bias)
        self.codes = _matrix(decoder.codes.weight, bfloat16)
        rotary = _array(decoder.rotary)[:, order.sequence]
        self.blocks = [_Block(block, rotary, bfloat16) for block in decoder.blocks]
        self.head = _Head(decoder.head, bfloat16)

    def sample(
        self,
        features: Features,
        noise: Tensor,
        logit_bias: Tensor | None = None,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        nats: Tensor | None = None,
    ) -> Tensor:
        """Return the codes (b n links) of a frame, sampled wave by wave.

        Args:
            features: (b), of the frame.
            noise: standard Gumbel, (b n links k).
            logit_bias: (b n links k), to be added to the logits; None for nothing.
            temperature, top_k: as for `sampling.sample`.
            nats: (b), to which -log p of the codes is added, at temperature 1 and among all codes.
        """
        b, n, _ = features.context.shape
        context, flow = (part.float().numpy()[:, self.sequence] for part in (features.context, features.flow))
        inputs = np.concatenate([context, flow], axis=-1) @ self.inputs
        inputs += self.bias
        flow_hidden = self.head.flow_hidden(flow)
        gumbel = noise.numpy()
        added = None if logit_bias is None else logit_bias.float().numpy()
        marked = np.zeros((b, n + 1, self.links * self.code_vectors.shape[1] + 1), np.float32)
        marked[:, :n, -1] = 1  # "known", set beforehand: a patch is read only after it is sampled
        codes = np.empty((b, n, self.links), np.int64)
        caches = [block.new_cache(b, n) for block in self.blocks]
        for start, end in self.bounds:
            known = marked[:, self.neighbours[start:end]].reshape(b * (end - start), -1)
            x = known @ self.codes
            x += inputs[:, start:end].reshape(x.shape)
            for block, cache in zip(self.blocks, caches, strict=True):
                block.step(x, cache, start, end)
            here, positions = slice(start, end), self.sequence[start:end]
            constant = self.head.bias if added is None else self.head.bias + added[:, positions]
            drawn, vectors = self._chain(
                _normalised(x),
                flow_hidden[:, here],
                gumbel[:, positions] if temperature == 1 else gumbel[:, positions] * np.float32(temperature),
                constant,
                top_k,
                None if nats is None else nats.numpy(),
            )
            codes[:, here] = drawn.reshape(b, -1, self.links)
            marked[:, here, :-1] = vectors.reshape(b, end - start, -1)
        result = np.empty_like(codes)
        result[:, self.sequence] = codes
        return torch.from_numpy(result)

    def _chain(
        self, state: Array, flow_hidden: Array, noise: Array, constant: Array, top_k: int, nats: Array | None
    ) -> tuple[NDArray[np.int64], Array]:
        """Return the codes (m links) of one wave's patches and their vectors (m links*c); add -log p to nats (b).

        `constant` is what the logits have beside the states' part: (k), or as `noise` (b m/b links k).
        """
        m, c = len(state), self.code_vectors.shape[1]
        constant = np.broadcast_to(constant, noise.shape).reshape(m, self.links, -1)
        noise = noise.reshape(m, self.links, -1)
        hidden = self.head.hidden(state)
        hidden += flow_hidden.reshape(hidden.shape)
        codes = np.empty((m, self.links), np.int64)
        vectors = np.empty((m, self.links * c), np.float32)
        for j in range(self.links):
            logits = self.head.logits(hidden[:, j], vectors[:, : j * c])
            logits += constant[:, j]
            codes[:, j] = sample_in_numpy(logits, noise[:, j], top_k=top_k)
            vectors[:, j * c : (j + 1) * c] = self.code_vectors[codes[:, j]]
            if nats is not None:
                nats += _nats(logits, codes[:, j]).reshape(len(nats), -1).sum(-1)
        return codes, vectors


class _Block:
    """`DecoderBlock.step`."""

    def __init__(self, block: DecoderBlock, rotary: Array, bfloat16: bool) -> None:
        attention = block.attention
        self.head_dim = attention.head_dim
        self.qkv = _matrix(attention.qkv.weight, bfloat16)
        self.out = _matrix(attention.out.weight, bfloat16)
        self.up = _matrix(block.mlp.up.weight, bfloat16)
        self.down = _matrix(block.mlp.down.weight, bfloat16)
        self.heads = attention.out.weight.shape[1] // self.head_dim
        gain = _array(attention.gain).reshape(-1, 1) * self.head_dim**-0.5
        gains = np.stack([np.broadcast_to(gain, (self.heads, self.head_dim)), np.ones((self.heads, self.head_dim))])
        # Queries and keys turn in one go: (n 2 heads c), the gain and the sign of the turned half included.
        signs = np.repeat([-1, 1], self.head_dim // 2)
        self.needs_shift = float(np.abs(_array(attention.gain)).max()) * self.head_dim**0.5 > LARGEST_EXPONENT
        self.cos = (rotary[0][:, None, None] * gains).astype(np.float32)
        self.sin = (rotary[1][:, None, None] * signs * gains).astype(np.float32)

    def new_cache(self, b: int, n: int) -> tuple[Array, Array]:
        """Return room for keys (b heads c n), the way the product wants them, and values (b heads n c)."""
        shape = (b, self.heads, self.head_dim, n)
        return np.empty(shape, np.float32), np.empty((b, self.heads, n, self.head_dim), np.float32)

    def step(self, x: Array, cache: tuple[Array, Array], start: int, end: int) -> None:
        """Add the block's output to one wave x (b*m d)."""
        keys, values = cache
        b, half = len(keys), self.head_dim // 2
        qkv = (_normalised(x) @ self.qkv).reshape(b, end - start, 3, self.heads, self.head_dim)
        qk = qkv[:, :, :2]
        qk *= _scale(qk)[..., None]
        turned = np.concatenate([qk[..., half:], qk[..., :half]], axis=-1)
        turned *= self.sin[start:end]
        qk *= self.cos[start:end]
        qk += turned
        keys[..., start:end] = qk[:, :, 1].transpose(0, 2, 3, 1)
        values[:, :, start:end] = qkv[:, :, 2].transpose(0, 2, 1, 3)
        weights = qk[:, :, 0].transpose(0, 2, 1, 3) @ keys[..., :end]
        if self.needs_shift:
            weights -= weights.max(-1, keepdims=True)
        np.exp(weights, out=weights)
        attended = weights @ values[:, :, :end]
        attended /= weights.sum(-1, keepdims=True)
        x += attended.transpose(0, 2, 1, 3).reshape(x.shape) @ self.out
        hidden = _normalised(x) @ self.up
        np.maximum(hidden, 0, out=hidden)
        np.square(hidden, out=hidden)
        x += hidden @ self.down


class _Head:
    """`ChainHead.step`."""

    def __init__(self, head: ChainHead, bfloat16: bool) -> None:
        self.links, self.dim = head.links, head.dim
        self.state = _matrix(head.state.weight, bfloat16)
        self.bias_of_state = _array(head.state.bias)
        self.from_flow = _matrix(head.from_flow.weight, bfloat16)
        self.known = [_transposed(link.get_parameter("weight")) for link in head.known]
        self.table = _matrix(head.table, bfloat16)
        self.bias = _array(head.bias)

    def hidden(self, state: Array) -> Array:
        """Return (m links dim) of states (m d), without the flow features' part and the bias."""
        return (state @ self.state).reshape(-1, self.links, self.dim)

    def flow_hidden(self, flow: Array) -> Array:
        """Return what flow features (... links*f) add to hidden states, with their bias: (... links*dim)."""
        codes = flow.reshape(*flow.shape[:-1], self.links, -1) @ self.from_flow
        hidden: Array = codes.reshape(*flow.shape[:-1], -1)
        hidden += self.bias_of_state
        return hidden

    def logits(self, hidden: Array, vectors: Array) -> Array:
        """Return logits (m k), without their bias, of the code after those with `vectors` (m j*c)."""
        if vectors.shape[1]:
            hidden = hidden + vectors @ self.known[vectors.shape[1] // len(self.known[0]) - 1]
        hidden = np.maximum(hidden, 0)
        np.square(hidden, out=hidden)
        logits: Array = hidden @ self.table
        return logits


def _nats(logits: Array, codes: NDArray[np.int64]) -> Array:
    """Return -log p of codes (m) under logits (m k), which are spent on it: (m)."""
    logits -= logits.max(-1, keepdims=True)
    chosen = logits[np.arange(len(codes)), codes]
    np.exp(logits, out=logits)
    result: Array = np.log(logits.sum(-1)) - chosen
    return result


def _scale(x: Array) -> Array:
    """Return 1 / the root of the mean square of x (... c): (...)."""
    square = np.einsum("...c,...c->...", x, x)
    square /= x.shape[-1]
    square += EPSILON
    np.sqrt(square, out=square)
    return np.reciprocal(square, out=square)


def _normalised(x: Array) -> Array:
    result: Array = x * _scale(x)[:, None]
    return result


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().float().cpu().clone().numpy()
    return array


def _transposed(weight: Tensor) -> Array:
    """Return a weight (out in) as a contiguous (in out), the way NumPy's products are quickest."""
    return np.ascontiguousarray(_array(weight).T)


def _matrix(weight: Tensor, bfloat16: bool) -> Array | _BFloat16Matrix:
    """Return a weight (out in) as what stands on the right of a product with rows (m in)."""
    return _BFloat16Matrix(weight) if bfloat16 else _transposed(weight)


class _BFloat16Matrix:
    """A weight (out in) that multiplies rows (m in) in bfloat16: `rows @ matrix`, in single precision before and after.

    A row's product does not depend on the rows beside it.
    """

    __array_ufunc__ = None  # NumPy leaves the product to `__rmatmul__`

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight.detach().cpu().bfloat16().contiguous()

    def __rmatmul__(self, rows: Array) -> Array:
        product: Array = F.linear(torch.from_numpy(rows).bfloat16(), self.weight).float().numpy()
        return product
