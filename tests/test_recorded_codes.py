"""What the shipped checkpoint imagined when it was shipped, recorded, and what it imagines now.

`python -m tests.test_recorded_codes` records it anew, for a new checkpoint and for nothing else.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from worldmodel.rollouts import EpisodeDataset
from worldmodel.simulator import PRETRAINED, Simulator

RECORDED = Path(__file__).parent / "data" / "recorded_codes.npz"  # seed 0, float32
STARTS = ((0, 20), (2, 60))  # episode and first frame of each context
CONTEXT, STEPS = 6, 6
SAME = 0.99  # of the codes: another machine may round otherwise
SUFFIXES = ("", "_without_map")


def imagined_codes(simulator: Simulator, data: EpisodeDataset) -> np.ndarray:
    """Return the codes of two contexts under two actions: uint16 (4 STEPS h w)."""
    frames = np.stack([data.episode(e).frames[s : s + CONTEXT] for e, s in STARTS])
    actions = np.stack([data.episode(e).actions[s : s + CONTEXT - 1] for e, s in STARTS])
    names = simulator.action_names
    future = np.tile(np.repeat([[names.index("forward")], [names.index("right")]], STEPS, axis=1), (2, 1))
    imagined = simulator.imagine(np.repeat(frames, 2, 0), np.repeat(actions, 2, 0), future, seed=0)
    return imagined.codes.numpy().astype(np.uint16)


def losses_of_a_clip(simulator: Simulator, data: EpisodeDataset) -> np.ndarray:
    """Return nll, aux_nll and flow of a real clip: float64 (3)."""
    episode = data.episode(2)
    codes = simulator.tokenizer.encode(episode.frames[None, 60:68])
    between = torch.as_tensor(episode.actions[None, 60:67]).long()
    expectation = None
    if simulator.use_map:
        assert simulator.learned_map is not None
        expectation = simulator.learned_map.follow(codes[:, :-1], between)
    with torch.no_grad():
        losses = simulator.dynamics.loss(codes, between, expectation=expectation, generator=torch.Generator())
    return np.array([losses.nll.item(), losses.aux_nll.item(), losses.flow.item()])


def measured(suffix: str) -> dict[str, np.ndarray]:
    """Return what is recorded, with the learned map or without it."""
    data = EpisodeDataset(PRETRAINED.parent / "episodes")
    simulator = Simulator.from_pretrained(precision="float32", use_map=not suffix)
    return {
        f"codes{suffix}": imagined_codes(simulator, data),
        f"losses{suffix}": losses_of_a_clip(simulator, data),
    }


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_refactor_changes_no_number(suffix: str) -> None:
    """Codes of two contexts under two actions, and losses of a real clip, with the learned map and without it."""
    recorded, found = np.load(RECORDED), measured(suffix)
    assert (found[f"codes{suffix}"] == recorded[f"codes{suffix}"]).mean() > SAME
    np.testing.assert_allclose(found[f"losses{suffix}"], recorded[f"losses{suffix}"], rtol=1e-5)


if __name__ == "__main__":
    np.savez_compressed(RECORDED, **measured(SUFFIXES[0]), **measured(SUFFIXES[1]))  # type: ignore[arg-type]
