"""The code decoder: features of the next frame and its codes of earlier waves -> a distribution for each code.

One stream of states works for any order: the state of a position carries the codes of its known neighbours, and it
attends to the positions of its own and earlier waves. The codes of one patch follow one another in a short chain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import DynamicsConfig
from .layers import MLP, Attention, attend, rotary_table, rotate, table
from .order import Order


class DecoderBlock(nn.Module):
    """Attention over the positions known so far, and an MLP."""

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        self.attention = Attention(config.decoder_dim, config.head_dim)
        self.mlp = MLP(config.decoder_dim, config.expansion)

    def forward(self, x: Tensor, rotary: Tensor, mask: Tensor) -> Tensor:
        """Return x (b n d) after the block; mask (n n) is 0 where p may attend to q, -inf elsewhere."""
        q, k, v = self.attention.heads(F.rms_norm(x, x.shape[-1:]))
        return self._rest(x, attend(rotate(q, rotary), rotate(k, rotary), v, mask.to(q.dtype)))

    def step(self, x: Tensor, rotary: Tensor, cache: Tensor, bounds: tuple[int, int]) -> Tensor:
        """The same for one wave x (b m d), whose keys and values join those of earlier waves in cache (2 b h n c)."""
        start, end = bounds
        q, k, v = self.attention.heads(F.rms_norm(x, x.shape[-1:]))
        cache[0, :, :, start:end], cache[1, :, :, start:end] = rotate(k, rotary), v
        return self._rest(x, attend(rotate(q, rotary), cache[0, :, :, :end], cache[1, :, :, :end]))

    def _rest(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.attention.merge(attended)
        out: Tensor = x + self.mlp(F.rms_norm(x, x.shape[-1:]))
        return out


class ChainHead(nn.Module):
    """The codes of one patch, one after the other: logits of code j from the state and the codes before it."""

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        self.links = config.codes_per_patch
        self.dim = config.chain_dim
        self.state = nn.Linear(config.decoder_dim, self.links * self.dim)
        self.known = nn.ModuleList(nn.Linear(j * config.code_dim, self.dim, bias=False) for j in range(1, self.links))
        self.table = table(nn.Parameter(torch.randn(config.codebook_size, self.dim) * 0.1 * self.dim**-0.5))
        self.bias = nn.Parameter(torch.zeros(config.codebook_size))
        # A skip connection: flow features are nearly the next codes already.
        self.from_flow = nn.Linear(config.flow_dim, self.dim, bias=False)
        nn.init.zeros_(self.from_flow.weight)
        # The auxiliary parallel head: all codes at once from the context, which so gets a loss of its own.
        self.auxiliary = nn.Linear(config.context_dim, self.links * self.dim)

    def forward(self, state: Tensor, flow: Tensor, vectors: Tensor) -> Tensor:
        """Return logits (... links k) of states (... d) and flow features, given the true vectors (... links c)."""
        hidden = rearrange(self.state(state) + self.flow_hidden(flow), "... (j d) -> ... j d", j=self.links)
        known = [torch.zeros_like(hidden[..., 0, :])]
        known += [link(vectors[..., :j, :].flatten(-2)) for j, link in enumerate(self.known, 1)]
        return self._logits(hidden + torch.stack(known, dim=-2))

    def step(self, hidden: Tensor, vectors: list[Tensor]) -> Tensor:
        """Return the logits (... k) of the code after those with `vectors` (... c); hidden is (... links d)."""
        j = len(vectors)
        known = self.known[j - 1](torch.cat(vectors, dim=-1)) if j else 0.0
        return self._logits(hidden[..., j, :] + known)

    def auxiliary_logits(self, context: Tensor, flow: Tensor) -> Tensor:
        """Return logits (... links k) from context (... d) and flow features (... links*f), all codes at once."""
        hidden = self.auxiliary(context) + self.flow_hidden(flow)
        return self._logits(rearrange(hidden, "... (j d) -> ... j d", j=self.links))

    def flow_hidden(self, flow: Tensor) -> Tensor:
        """Return what flow features (... links*f) add to hidden states (... links*d), code by code."""
        return self.from_flow(flow.unflatten(-1, (self.links, -1))).flatten(-2)

    def _logits(self, hidden: Tensor) -> Tensor:
        return F.linear(F.relu(hidden).square(), self.table, self.bias)


class CodeDecoder(nn.Module):
    """Features of a frame's patches -> logits of its codes, wave by wave."""

    rotary: Tensor
    mask: Tensor
    neighbours: Tensor
    sequence: Tensor

    def __init__(self, config: DynamicsConfig, order: Order) -> None:
        super().__init__()
        self.config = config
        self.order = order
        channels = config.codes_per_patch * config.code_dim + 1
        self.features = nn.Linear(config.context_dim, config.decoder_dim)
        self.from_flow = nn.Linear(config.flow_features, config.decoder_dim, bias=False)
        nn.init.zeros_(self.from_flow.weight)
        self.codes = nn.Linear(order.neighbours.shape[1] * channels, config.decoder_dim, bias=False)
        self.blocks: Sequence[DecoderBlock] = nn.ModuleList(  # type: ignore[assignment]
            DecoderBlock(config) for _ in range(config.decoder_layers)
        )
        self.head = ChainHead(config)
        self.register_buffer("rotary", rotary_table(config.patch_grid, config.head_dim), persistent=False)
        mask = torch.zeros(order.mask.shape).masked_fill(~torch.tensor(order.mask), float("-inf"))
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("neighbours", torch.from_numpy(order.neighbours), persistent=False)
        self.register_buffer("sequence", torch.from_numpy(order.sequence), persistent=False)

    def forward(self, context: Tensor, flow: Tensor, vectors: Tensor) -> Tensor:
        """Return logits (b n links k), each given the codes of earlier waves and the earlier codes of its own patch.

        Args:
            context: (b n d), features of the context transformer.
            flow: (b n links*f), features of the warped frame.
            vectors: (b n links c), the vectors of the frame's true codes.
        """
        x = self._inputs(context, flow) + self.codes(self._known(_marked(vectors), self.neighbours))
        for block in self.blocks:
            x = block(x, self.rotary, self.mask)
        out: Tensor = self.head(F.rms_norm(x, x.shape[-1:]), flow, vectors)
        return out

    def _inputs(self, context: Tensor, flow: Tensor) -> Tensor:
        """Return the states (b n d) before any code is known."""
        states: Tensor = self.features(context) + self.from_flow(flow)
        return states

    def _known(self, marked: Tensor, neighbours: Tensor) -> Tensor:
        """Return the vectors of the neighbours (m p) of some positions from marked (b n+1 c): (b m p*c)."""
        return marked[:, neighbours].flatten(2)

    @torch.no_grad()
    def sample(
        self, context: Tensor, flow: Tensor, code_vectors: Tensor, pick: Callable[[Tensor, Tensor, int], Tensor]
    ) -> Tensor:
        """Return the codes (b n links) of a frame, sampled wave by wave.

        Args:
            context: (b n d), features of the context transformer.
            flow: (b n links*f), features of the warped frame.
            code_vectors: (k c), the vector of each code.
            pick: chooses codes (b m) from logits (b m k), given the positions (m) and which of the patch's codes it is.
        """
        b, n, _ = context.shape
        config = self.config
        inputs, flow_hidden = self._inputs(context, flow), self.head.flow_hidden(flow)
        codes = torch.zeros(b, n, config.codes_per_patch, dtype=torch.int64, device=context.device)
        marked = code_vectors.new_zeros(b, n + 1, config.codes_per_patch * config.code_dim + 1)
        heads = config.decoder_dim // config.head_dim
        caches = inputs.new_empty(len(self.blocks), 2, b, heads, n, config.head_dim)
        for bounds in self.order.bounds:
            positions = self.sequence[slice(*bounds)]
            x = inputs[:, positions] + self.codes(self._known(marked, self.neighbours[positions]))
            rotary = self.rotary[:, positions]
            for layer, block in enumerate(self.blocks):
                x = block.step(x, rotary, caches[layer], bounds)
            chosen, vectors = self._sample_chain(
                F.rms_norm(x, x.shape[-1:]), flow_hidden[:, positions], code_vectors, positions, pick
            )
            codes[:, positions] = chosen
            marked[:, positions] = F.pad(vectors, (0, 1), value=1.0)
        return codes

    def _sample_chain(
        self,
        state: Tensor,
        flow_hidden: Tensor,
        code_vectors: Tensor,
        positions: Tensor,
        pick: Callable[[Tensor, Tensor, int], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Return the codes (b m links) of one wave's patches and their vectors (b m links*c)."""
        hidden = rearrange(self.head.state(state) + flow_hidden, "b m (j d) -> b m j d", j=self.head.links)
        codes: list[Tensor] = []
        vectors: list[Tensor] = []
        for j in range(self.head.links):
            codes.append(pick(self.head.step(hidden, vectors), positions, j))
            vectors.append(F.embedding(codes[-1], code_vectors))
        return torch.stack(codes, dim=-1), torch.cat(vectors, dim=-1)


def _marked(vectors: Tensor) -> Tensor:
    """Return (b n links c) as (b n+1 links*c+1): a channel of ones, "known", and a last row of zeros, "unknown"."""
    return F.pad(F.pad(vectors.flatten(2), (0, 1), value=1.0), (0, 0, 0, 1))
