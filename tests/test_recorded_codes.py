"""What the shipped checkpoint imagined before the code was last rebuilt, recorded, and what it imagines now."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from worldmodel.rollouts import EpisodeDataset
from worldmodel.simulator import PRETRAINED, Simulator

RECORDED = Path(__file__).parent / "data" / "recorded_codes.npz"  # of the schema-1 checkpoint, seed 0, float32
STARTS = ((0, 20), (2, 60))  # episode and first frame of each context
CONTEXT, STEPS = 6, 6
SAME = 0.99  # of the codes: another machine may round otherwise


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", "_without_map"])
def test_a_refactor_changes_no_number(suffix: str) -> None:
    """Codes of two contexts under two actions, and losses of a real clip, with the learned map and without it."""
    recorded = np.load(RECORDED)
    data = EpisodeDataset(PRETRAINED.parent / "episodes")
    simulator = Simulator.from_pretrained(precision="float32", use_map=not suffix)
    frames = np.stack([data.episode(e).frames[s : s + CONTEXT] for e, s in STARTS])
    actions = np.stack([data.episode(e).actions[s : s + CONTEXT - 1] for e, s in STARTS])
    names = simulator.action_names
    future = np.tile(np.repeat([[names.index("forward")], [names.index("right")]], STEPS, axis=1), (2, 1))
    imagined = simulator.imagine(np.repeat(frames, 2, 0), np.repeat(actions, 2, 0), future, seed=0)
    assert (imagined.codes.numpy() == recorded[f"codes{suffix}"]).mean() > SAME

    episode = data.episode(2)
    codes = simulator.tokenizer.encode(episode.frames[None, 60:68])
    between = torch.as_tensor(episode.actions[None, 60:67]).long()
    expectation = None if suffix else simulator.learned_map.follow(codes[:, :-1], between)  # type: ignore[union-attr]
    with torch.no_grad():
        losses = simulator.dynamics.loss(codes, between, expectation=expectation, generator=torch.Generator())
    found = [losses.nll.item(), losses.aux_nll.item(), losses.flow.item()]
    np.testing.assert_allclose(found, recorded[f"losses{suffix}"], rtol=1e-5)
