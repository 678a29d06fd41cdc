"""The block that imagines is the block that was trained."""

from __future__ import annotations

import pytest
import torch

from tests.models import tiny_dynamics
from worldmodel.dynamics.frozen_context import FrozenContextBlock
from worldmodel.runtime import autocast

FRAMES = 5  # longer than the window of 3
CODES = torch.randint(16, (2, FRAMES, 8, 8), generator=torch.Generator().manual_seed(5))
ACTIONS = torch.randint(-1, 4, (2, FRAMES), generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.03)])
@pytest.mark.parametrize("gain", [2.0, 60.0])
@torch.no_grad()
def test_a_frozen_block_is_its_block(gain: float, precision: str, tolerance: float) -> None:
    """Features of frame after frame are one pass's over the past in single precision, at sharp attention, too."""
    dynamics = tiny_dynamics(context_layers=2, attention_bias_layers=1)
    for block in dynamics.context.blocks:
        block.spatial.gain.fill_(gain)  # type: ignore[union-attr, operator]
    frozen = dynamics.frozen(precision=precision)
    blocks = list(frozen.context.blocks)
    assert all(isinstance(block, FrozenContextBlock) and block.needs_shift == (gain > 20) for block in blocks)
    whole, cache = dynamics.features(CODES, ACTIONS).context, frozen.new_cache()
    for t in range(FRAMES):
        with autocast(dynamics.device, precision=precision):
            features = frozen.observe(CODES[:, t], ACTIONS[:, t], cache)
        assert torch.isfinite(features.context).all()
        if gain < 20 or precision == "float32":  # bfloat16 scores of hundreds are off by a unit: only finite
            assert (features.context - whole[:, t]).abs().mean() < tolerance * whole.std()
