"""The code decoder for ONNX: all waves of a frame unrolled in one graph, so that a browser calls it once a frame."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..dynamics.decoder import ChainHead, DecoderBlock
from ..dynamics.model import Dynamics
from ..tokenizer.autoencoder import GREY
from ..tokenizer.model import Tokenizer
from .parts import AttentionGraph, MLPGraph, RotaryGraph, constant, normalised, transposed


class DecoderGraph(nn.Module):
    """The next frame's codes. Rows are kept in the order in which they are sampled, so a wave is a slice."""

    INPUTS = ("context", "flow", "uniform", "temperature")
    OUTPUTS = ("next_codes",)
    sequence: Tensor
    places: Tensor
    neighbours: Tensor

    def __init__(self, dynamics: Dynamics) -> None:
        super().__init__()
        decoder, order, self.config = dynamics.decoder, dynamics.order, dynamics.config
        self.bounds = order.bounds
        n = len(order.sequence)
        places = np.zeros(n + 1, np.int64)  # position -> its row; row 0 is the unknown neighbour's
        places[order.sequence] = 1 + np.arange(n)
        self.register_buffer("sequence", torch.from_numpy(order.sequence))
        self.register_buffer("places", torch.from_numpy(places[:-1] - 1))
        self.register_buffer("neighbours", torch.from_numpy(places[order.neighbours[order.sequence]]))
        self.features, self.features_bias = transposed(decoder.features.weight), constant(decoder.features.bias)
        self.from_flow, self.codes = transposed(decoder.from_flow.weight), transposed(decoder.codes.weight)
        rotary = RotaryGraph(decoder.rotary[:, self.sequence])
        self.blocks = nn.ModuleList(DecoderBlockGraph(block, rotary) for block in decoder.blocks)
        self.head = ChainGraph(decoder.head, dynamics.code_vectors)

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs of the right shapes."""
        config = self.config
        n, links = config.num_patches, config.codes_per_patch
        uniform = torch.full((n, links, config.codebook_size), 0.5)
        return torch.zeros(n, config.context_dim), torch.zeros(n, config.flow_features), uniform, torch.ones(1)

    def forward(self, context: Tensor, flow: Tensor, uniform: Tensor, temperature: Tensor) -> Tensor:
        """Return codes int32 (g g), drawn with -log(-log(uniform)) as Gumbel noise.

        Args:
            context, flow: of `ContextGraph`.
            uniform: (n links k), independent and evenly distributed between 0 and 1, both excluded.
            temperature: (1); 0 takes the likeliest code.
        """
        context, flow, uniform = (part[self.sequence] for part in (context, flow, uniform))
        noise = temperature * -torch.log(-torch.log(uniform))
        inputs = context @ self.features + flow @ self.from_flow + self.features_bias
        flow_hidden = self.head.flow_hidden(flow)
        marked = torch.zeros(1, self.codes.shape[0] // self.neighbours.shape[1])
        caches: list[tuple[Tensor, Tensor] | None] = [None] * len(self.blocks)
        waves = []
        for start, end in self.bounds:
            rows = slice(start, end)
            x = marked[self.neighbours[rows]].view(end - start, -1) @ self.codes + inputs[rows]
            for layer, block in enumerate(self.blocks):
                x, caches[layer] = block(x, caches[layer], rows)
            drawn, vectors = self.head(normalised(x), flow_hidden[rows], noise[rows])
            waves.append(drawn)
            marked = torch.cat([marked, torch.cat([vectors, torch.ones(end - start, 1)], dim=1)])
        p, grid = self.config.patch, self.config.patch_grid
        codes = torch.cat(waves)[self.places].view(grid, grid, p, p).transpose(1, 2)
        return codes.reshape(grid * p, grid * p).int()


class DecoderBlockGraph(nn.Module):
    """One block of one wave (m d); keys (heads c n) and values (heads n c) grow by each wave."""

    def __init__(self, block: DecoderBlock, rotary: RotaryGraph) -> None:
        super().__init__()
        self.rotary, self.attention, self.mlp = rotary, AttentionGraph(block.attention), MLPGraph(block.mlp)

    def forward(
        self, x: Tensor, cache: tuple[Tensor, Tensor] | None, rows: slice
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        q, k, v = self.attention(normalised(x))
        q, k = self.rotary(torch.cat([q, k], dim=1), rows).chunk(2, dim=1)  # both turn in one go
        keys, values = k.permute(1, 2, 0), v.transpose(0, 1)
        if cache is not None:
            keys, values = torch.cat([cache[0], keys], dim=2), torch.cat([cache[1], values], dim=1)
        x = x + self.attention.merge((q.transpose(0, 1) @ keys).softmax(-1) @ values)
        return self.mlp(x), (keys, values)


class ChainGraph(nn.Module):
    """The codes of one wave's patches, one link after the other, and their vectors."""

    def __init__(self, head: ChainHead, code_vectors: Tensor) -> None:
        super().__init__()
        self.links, self.vectors = head.links, constant(code_vectors)
        self.state, self.state_bias = transposed(head.state.weight), constant(head.state.bias)
        self.from_flow = transposed(head.from_flow.weight)
        self.known = nn.ParameterList(transposed(link.get_parameter("weight")) for link in head.known)
        self.table, self.bias = transposed(head.table), constant(head.bias)

    def flow_hidden(self, flow: Tensor) -> Tensor:
        """Return what flow features (n links*f) add to hidden states, with their bias: (n links*dim)."""
        n = len(flow)
        return (flow.view(n * self.links, -1) @ self.from_flow).view(n, -1) + self.state_bias

    def forward(self, state: Tensor, flow_hidden: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes (m links) and vectors (m links*c) of states (m d), with noise (m links k)."""
        hidden = (state @ self.state + flow_hidden).view(len(state), self.links, -1)
        codes: list[Tensor] = []
        vectors: list[Tensor] = []
        for j in range(self.links):
            link = hidden[:, j]
            if j:
                link = link + torch.cat(vectors, dim=1) @ self.known[j - 1]
            logits = F.relu(link).square() @ self.table + self.bias
            codes.append((logits + noise[:, j]).argmax(-1))
            vectors.append(self.vectors[codes[-1]])
        return torch.stack(codes, dim=1), torch.cat(vectors, dim=1)


class PictureGraph(nn.Module):
    """The tokenizer's decoder: codes int32 (g g) -> a frame uint8 (H W 3)."""

    INPUTS = ("codes",)
    OUTPUTS = ("frame",)

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.vectors, self.layers = constant(tokenizer.codebook.vectors), tokenizer.decoder
        self.grid = tokenizer.config.code_grid

    def example(self) -> tuple[Tensor, ...]:
        """Return codes of the right shape."""
        return (torch.zeros(self.grid, self.grid, dtype=torch.int32),)

    def forward(self, codes: Tensor) -> Tensor:
        mean = self.layers(self.vectors[codes.long()].permute(2, 0, 1).unsqueeze(0).contiguous())
        return ((mean[0] + 1) * GREY).round().clamp(0, 255).permute(1, 2, 0).to(torch.uint8)
