"""The context transformer: past frames and actions -> one feature vector for each patch of the next frame.

It runs once a frame. Blocks of attention within the frame, attention to the same patch of the past frames, and an MLP.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import DynamicsConfig
from ..types import UNKNOWN_ACTION
from .cache import ContextCache
from .expectation import Expectation
from .frozen_context import FrozenContextBlock
from .layers import (
    MLP,
    ActionAttentionBias,
    Attention,
    FrozenActionAttentionBias,
    attend,
    rotary_table,
    rotate,
    table,
)
from .optical_flow import OpticalFlow


class ContextBlock(nn.Module):
    """One block. The action shifts and scales the input of the spatial attention, and may bias its scores."""

    slopes: Tensor

    def __init__(self, config: DynamicsConfig, *, has_action_bias: bool) -> None:
        super().__init__()
        dim = config.context_dim
        self.window = config.window
        self.spatial = Attention(dim, config.head_dim)
        self.temporal = Attention(dim, config.head_dim)
        self.mlp = MLP(dim, config.expansion)
        # One row an action, the last for "unknown": scale and shift.
        self.modulation = table(nn.Parameter(torch.zeros(len(config.action_names) + 1, 2 * dim)))
        heads = dim // config.head_dim
        actions = len(config.action_names) + 1
        self.action_bias = (
            ActionAttentionBias(heads=heads, actions=actions, grid=config.patch_grid) if has_action_bias else None
        )
        self.register_buffer("slopes", torch.linspace(0, 2, heads) ** 2, persistent=False)

    def forward(self, x: Tensor, actions: Tensor, rotary: Tensor, cache: ContextCache | None, layer: int) -> Tensor:
        """Return x (b t n d) after the block, for actions (b t)."""
        scale, shift = self.modulation[actions].to(x.dtype).unsqueeze(2).chunk(2, dim=-1)
        x = x + self._attend_frame(F.rms_norm(x, x.shape[-1:]) * (1 + scale) + shift, actions, rotary)
        x = x + self._attend_past(F.rms_norm(x, x.shape[-1:]), cache, layer)
        out: Tensor = x + self.mlp(F.rms_norm(x, x.shape[-1:]))
        return out

    def _attend_frame(self, x: Tensor, actions: Tensor, rotary: Tensor) -> Tensor:
        """Return what each patch takes from its own frame: (b t n d) -> (b t n d)."""
        q, k, v = self.spatial.heads(x.flatten(0, 1))
        bias = None if self.action_bias is None else self.action_bias(actions.flatten()).to(q.dtype)
        attended = attend(rotate(q, rotary), rotate(k, rotary), v, bias)
        return self.spatial.merge(attended).view_as(x)

    def _attend_past(self, x: Tensor, cache: ContextCache | None, layer: int) -> Tensor:
        """Return what each patch takes from the same patch of the past frames: (b t n d) -> (b t n d)."""
        b, t = x.shape[:2]
        q, k, v = self.temporal.heads(rearrange(x, "b t n d -> (b n) t d"))
        if cache is None:
            ages = torch.arange(t, device=x.device)[:, None] - torch.arange(t, device=x.device)
        else:
            # In single precision: a CPU is quicker at these sums than in half, and they are too small for a product.
            q, (k, v) = q.float(), cache.extend(layer, k.float(), v.float())
            ages = cache.ages(x.device).unsqueeze(-2)
        bias = self.bias_of_ages(ages).to(q.dtype)
        if len(bias) > 1:  # rows of different ages
            bias = bias.repeat_interleave(x.shape[2], dim=0)
        attended = self.temporal.merge(attend(q, k, v, bias).to(x.dtype))
        return rearrange(attended, "(b n) t d -> b t n d", b=b)

    def bias_of_ages(self, ages: Tensor) -> Tensor:
        """What is added to scores of keys so many frames old (queries keys): less for older ones.

        Each head has its own fixed slope (ALiBi, Press et al. 2022), and nothing past the window is attended to.
        (1 heads queries keys), or (b heads queries keys) of ages (b queries keys)
        """
        ages = ages.unsqueeze(-3)
        bias = -self.slopes[:, None, None] * ages
        bias = bias.masked_fill((ages < 0) | (ages >= self.window), float("-inf"))
        return bias if bias.ndim == 4 else bias.unsqueeze(0)


class ContextTransformer(nn.Module):
    """Patches of the past frames (b t n c) and the actions taken after seeing them (b t) -> features (b t n d)."""

    rotary: Tensor

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        channels = config.codes_per_patch * config.code_dim
        # A frame, the frame before it (the velocity at once), and whether there is one before it.
        self.embed = nn.Linear(2 * channels + 1, config.context_dim)
        self.noise = table(nn.Parameter(torch.zeros(config.context_dim)))
        actions = len(config.action_names) + 1  # the last for "unknown"
        self.actions = table(nn.Parameter(0.02 * torch.randn(actions, config.context_dim)))
        self.history = config.action_history - 1
        self.past_actions = table(nn.Parameter(torch.zeros(self.history, actions, config.context_dim)))
        self.positions = table(nn.Parameter(0.02 * torch.randn(config.num_patches, config.context_dim)))
        self.blocks = nn.ModuleList(
            ContextBlock(config, has_action_bias=layer < config.attention_bias_layers)
            for layer in range(config.context_layers)
        )
        self.flow = OpticalFlow(config)
        self.from_flow = nn.Linear(config.flow_features, config.context_dim, bias=False)
        nn.init.zeros_(self.from_flow.weight)
        self.flow_layer = min(config.flow_layer, config.context_layers - 1)
        self.register_buffer("rotary", rotary_table(config.patch_grid, config.head_dim), persistent=False)

    def forward(
        self,
        patches: Tensor,
        images: Tensor,
        actions: Tensor,
        noise_rates: Tensor,
        expectation: Expectation | None = None,
        cache: ContextCache | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is known of the frames that follow: context features (b t n d) and flow features (b t n links*f).

        The third result is by how much the view is displaced, (b t 2 H W); see `OpticalFlow`.

        Args:
            patches: (b t n c), the vectors of each patch's codes.
            images: (b t 3 H W), what the codes look like.
            actions: (b t), what was done after each frame; -1 where it is unknown.
            noise_rates: (b), the share of the codes that are random.
            expectation: (b t), of the frames that follow; None where nothing is expected.
            cache: what earlier calls left behind; then one frame at a time, t = 1.
        """
        before = self._before(patches, cache)
        x = self.embed(torch.cat([patches, before], dim=-1))
        x = x + self.positions.to(x.dtype)
        lags = self._lags(actions, cache)
        condition = self.actions[actions] + noise_rates[:, None, None] * self.noise
        for lag, embedding in enumerate(self.past_actions):
            condition = condition + embedding[lags[:, :, lag]]
        x = x + condition.to(x.dtype).unsqueeze(2)
        expected = None if expectation is None else Expectation(*(part.flatten(0, 1) for part in expectation))
        flow, displacement = self.flow(images.flatten(0, 1), lags.flatten(0, 1), expected)
        flow, displacement = (part.unflatten(0, actions.shape) for part in (flow, displacement))
        for layer, block in enumerate(self.blocks):
            if layer == self.flow_layer:
                x = x + self.from_flow(flow)
            x = block(x, actions, self.rotary, cache, layer)
        if cache is not None:
            cache.advance()
        return F.rms_norm(x, x.shape[-1:]), flow.to(x.dtype), displacement

    def freeze(self, dtype: torch.dtype) -> None:
        """Compute once what only training has to compute for each frame; the transformer cannot be trained any more."""
        for block in self.blocks:
            if isinstance(block.action_bias, ActionAttentionBias):
                block.action_bias = FrozenActionAttentionBias(block.action_bias, dtype)
        if self.rotary.device.type == "cpu":
            self.blocks = nn.ModuleList(
                FrozenContextBlock(block, self.rotary, dtype)  # type: ignore[arg-type]
                for block in self.blocks
            )

    def _lags(self, actions: Tensor, cache: ContextCache | None) -> Tensor:
        """Return each frame's action after those before it, (b t lags+1): how fast a motion is depends on them."""
        earlier = actions.new_full((len(actions), self.history), UNKNOWN_ACTION)
        if cache is not None:
            earlier = earlier if cache.actions is None else cache.actions
        sequence = torch.cat([earlier, actions], dim=1)
        if cache is not None:
            cache.actions = sequence[:, actions.shape[1] :]
        return sequence.unfold(1, self.history + 1, 1)

    def _before(self, patches: Tensor, cache: ContextCache | None) -> Tensor:
        """Return the patches one frame earlier with a channel of ones, zeros where there is no earlier frame."""
        marked = F.pad(patches, (0, 1), value=1.0)
        first = torch.zeros_like(marked[:, :1])
        if cache is not None:
            first = first if cache.last is None else cache.last
            cache.last = marked[:, -1:]
        return torch.cat([first, marked[:, :-1]], dim=1)
