"""Context noise and action dropout."""

from __future__ import annotations

import torch

from worldmodel.dynamics.noise import add_context_noise, drop_actions
from worldmodel.types import UNKNOWN_ACTION

CODES = torch.randint(16, (2, 7, 8, 8), generator=torch.Generator().manual_seed(5))


def test_noise_is_bounded() -> None:
    """About the given share of codes is replaced, a share of its own in each clip, at most the largest."""
    noisy, rate = add_context_noise(CODES, codebook_size=16, max_rate=0.5, generator=torch.Generator().manual_seed(0))
    share = (noisy != CODES).float().mean((1, 2, 3))
    assert ((share > 0) & (share < rate + 0.1)).all()
    assert (rate <= 0.5).all()
    same, _ = add_context_noise(CODES, codebook_size=16, max_rate=0.0, generator=torch.Generator())
    assert torch.equal(same, CODES)


def test_a_clip_loses_all_its_actions_or_none() -> None:
    """As often as asked; the others keep theirs."""
    actions = torch.randint(4, (400, 5), generator=torch.Generator().manual_seed(1))
    kept = drop_actions(actions, rate=0.25, generator=torch.Generator().manual_seed(2))
    dropped = (kept == UNKNOWN_ACTION).all(1)
    assert torch.equal(kept[~dropped], actions[~dropped])
    assert 0.15 < dropped.float().mean() < 0.35
