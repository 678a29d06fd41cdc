"""The context transformer for ONNX: one frame, with the keys and values of the frames before it as inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..dynamics.context import ContextBlock
from ..dynamics.layers import BIAS_SCALE, ActionAttentionBias
from ..dynamics.model import Dynamics
from ..dynamics.optical_flow import ACTION_DIM, FLOW_SCALE
from .parts import AttentionGraph, MLPGraph, RotaryGraph, constant, normalised, transposed

UNSEEN = 1e9  # taken off the scores of a slot that holds no frame of the window


class ContextGraph(nn.Module):
    """What is known of the next frame, and what the cache has to keep of this one.

    n patches, L layers, S slots of the cache (the frames of the window but this one), g x g codes.
    """

    INPUTS = ("codes", "has_previous", "actions", "keys", "values", "ages")
    OUTPUTS = ("context", "flow", "new_keys", "new_values")

    def __init__(self, dynamics: Dynamics) -> None:
        super().__init__()
        context, self.config = dynamics.context, dynamics.config
        self.vectors = constant(dynamics.code_vectors)
        self.embed, self.embed_bias = transposed(context.embed.weight), constant(context.embed.bias)
        self.positions = constant(context.positions)
        self.actions, self.past_actions = constant(context.actions), constant(context.past_actions)
        self.flow = FlowGraph(dynamics)
        self.from_flow, self.flow_layer = transposed(context.from_flow.weight), context.flow_layer
        rotary = RotaryGraph(context.rotary)
        self.blocks = nn.ModuleList(ContextBlockGraph(block, rotary) for block in context.blocks)  # type: ignore[arg-type]

    @property
    def slots(self) -> int:
        """How many frames the cache holds."""
        return max(1, self.config.window - 1)

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs of the right shapes: a world before its first frame."""
        config, grid = self.config, self.config.code_grid
        cache = torch.zeros(config.context_layers, self.slots, config.num_patches, config.context_dim)
        actions = torch.full((config.action_history,), len(config.action_names), dtype=torch.int32)
        ages = torch.full((self.slots,), float(config.window))
        codes = torch.zeros(2, grid, grid, dtype=torch.int32)
        return codes, torch.zeros(1), actions, cache, cache.clone(), ages

    def forward(
        self, codes: Tensor, has_previous: Tensor, actions: Tensor, keys: Tensor, values: Tensor, ages: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return context (n d) and flow features (n links*f) of the next frame, and keys and values (L n d).

        Args:
            codes: int32 (2 g g), of the frame before this one and of this one.
            has_previous: (1), 1 if there is a frame before, else 0.
            actions: int32 (lags), the last ones, the newest last; "unknown" is the number of actions.
            keys, values: (L S n d), of earlier frames.
            ages: (S), how many frames ago each slot was filled; the window or more if it is not to be seen.
        """
        codes, actions = codes.long(), actions.long()
        before, now = self._patches(codes[0]), self._patches(codes[1])
        known = has_previous.expand(len(now), 1)
        x = torch.cat([now, before * known, known], dim=1) @ self.embed + self.embed_bias + self.positions
        x = x + self.actions[actions[-1:]]
        for lag in range(len(self.past_actions)):
            x = x + self.past_actions[lag][actions[lag : lag + 1]]
        flow = self.flow(codes[1], actions)
        ages = torch.cat([ages, torch.zeros(1)])
        hidden = UNSEEN * (ages >= self.config.window).float()
        new_keys, new_values = [], []
        for layer, block in enumerate(self.blocks):
            if layer == self.flow_layer:
                x = x + flow @ self.from_flow
            x, k, v = block(x, actions[-1:], keys[layer], values[layer], ages, hidden)
            new_keys.append(k)
            new_values.append(v)
        return normalised(x), flow, torch.stack(new_keys), torch.stack(new_values)

    def _patches(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes (g g), patch by patch: (n links*c)."""
        p, grid = self.config.patch, self.config.patch_grid
        return self.vectors[codes].view(grid, p, grid, p, -1).transpose(1, 2).reshape(grid * grid, -1)


class ContextBlockGraph(nn.Module):
    """One block of one frame (n d); the cache's slots come before the frame itself."""

    def __init__(self, block: ContextBlock, rotary: RotaryGraph) -> None:
        super().__init__()
        self.rotary = rotary
        self.spatial, self.temporal = AttentionGraph(block.spatial), AttentionGraph(block.temporal)
        self.mlp, self.modulation = MLPGraph(block.mlp), constant(block.modulation)
        self.slopes = constant(block.slopes)
        bias = block.action_bias
        self.bias = ActionBiasGraph(bias) if isinstance(bias, ActionAttentionBias) else None

    def forward(
        self, x: Tensor, action: Tensor, keys: Tensor, values: Tensor, ages: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return x after the block, and its keys and values (n d)."""
        scale, shift = self.modulation[action].chunk(2, dim=1)
        x = x + self._attend_frame(normalised(x) * (1 + scale) + shift, action)
        q, k, v = self.temporal(normalised(x))
        k, v = k.reshape(x.shape), v.reshape(x.shape)
        past = (-1, *q.shape)
        all_keys, all_values = torch.cat([keys, k[None]]).view(past), torch.cat([values, v[None]]).view(past)
        scores = (all_keys * q).sum(-1) - ages[:, None, None] * self.slopes - hidden[:, None, None]
        attended = (scores.softmax(0).unsqueeze(-1) * all_values).sum(0)
        x = x + self.temporal.merge(attended.transpose(0, 1))
        return self.mlp(x), k, v

    def _attend_frame(self, x: Tensor, action: Tensor) -> Tensor:
        q, k, v = self.spatial(x)
        scores = self.rotary(q).transpose(0, 1) @ self.rotary(k).permute(1, 2, 0)
        if self.bias is not None:
            scores = scores + self.bias(action)
        return self.spatial.merge(scores.softmax(-1) @ v.transpose(0, 1))


class ActionBiasGraph(nn.Module):
    """The bias of every pair of patches (heads n n), looked up by their relative position."""

    places: Tensor

    def __init__(self, bias: ActionAttentionBias) -> None:
        super().__init__()
        self.grid, side = bias.grid, 2 * bias.grid - 1
        self.table = constant(bias.table.flatten(2))  # (actions heads side*side)
        row, column = torch.meshgrid(torch.arange(self.grid), torch.arange(self.grid), indexing="ij")
        row, column = row.flatten(), column.flatten()
        down, right = row[None] - row[:, None] + self.grid - 1, column[None] - column[:, None] + self.grid - 1
        self.register_buffer("places", down * side + right)

    def forward(self, action: Tensor) -> Tensor:
        return BIAS_SCALE * self.table[action][0][:, self.places]


class FlowGraph(nn.Module):
    """The flow features (n links*f) of the frame that follows codes (g g) under the last actions (lags)."""

    def __init__(self, dynamics: Dynamics) -> None:
        super().__init__()
        flow, self.config = dynamics.context.flow, dynamics.config
        self.cell, self.ring, self.size = flow.cell, flow.ring, flow.size
        self.appearance = constant(dynamics.code_appearance)
        self.actions, self.camera = constant(flow.actions), constant(flow.camera)
        self.polynomial, self.places = constant(flow.polynomial), constant(flow.places.permute(0, 2, 3, 1))
        width = self.cell + 2 * self.ring  # pixels to a side of what is read for a code: a convolution
        self.window, self.window_bias = (
            constant(flow.window.weight.view(-1, 4, width, width)),
            constant(flow.window.bias),
        )
        self.read, self.read_bias = transposed(flow.read.weight), constant(flow.read.bias)

    def forward(self, codes: Tensor, actions: Tensor) -> Tensor:
        image = self.appearance[codes].permute(2, 0, 3, 1, 4).reshape(1, 3, self.size, self.size)
        in_view = torch.cat([image, torch.ones(1, 1, self.size, self.size)], dim=1)
        warped = F.grid_sample(in_view, self._grid(actions), padding_mode="zeros", align_corners=False)
        hidden = F.relu(F.conv2d(warped, self.window, self.window_bias, stride=self.cell, padding=self.ring)).square()
        p, grid = self.config.patch, self.config.patch_grid
        hidden = hidden.view(-1, grid, p, grid, p).permute(1, 3, 2, 4, 0).reshape(grid * grid * p * p, -1)
        return (hidden @ self.read + self.read_bias).view(grid * grid, -1)

    def _grid(self, actions: Tensor) -> Tensor:
        """Return where each pixel of the next frame was in this one (1 H W 2), in frame halves."""
        embedded = self.actions[0][actions[:1]]
        for lag in range(1, len(self.actions)):
            embedded = embedded + self.actions[lag][actions[lag : lag + 1]]
        hidden = torch.cat([ACTION_DIM**-0.5 * F.relu(embedded), torch.ones(1, 1)], dim=1)
        displacement = FLOW_SCALE * (hidden @ self.camera).view(2, -1) @ self.polynomial
        return self.places + displacement.view(1, 2, self.size, self.size).permute(0, 2, 3, 1)
