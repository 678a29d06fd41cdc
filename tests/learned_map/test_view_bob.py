"""View bob: amplitudes by the step, and a phase that is estimated and goes on."""

from __future__ import annotations

import math

import torch

from worldmodel.learned_map.view_bob import BobPhase, ViewBob

GENERATOR = torch.Generator().manual_seed(0)


@torch.no_grad()
def test_at_rest_there_is_no_bob() -> None:
    """The eye is at rest after no step, whatever is learnt of steps."""
    bob = ViewBob()
    torch.nn.init.normal_(bob.network[2].weight, generator=GENERATOR)
    amplitudes = bob(torch.tensor([[0.0, 0.0], [0.07, 0.0]]))
    assert (amplitudes[0] == 0).all()
    assert amplitudes[1].abs().max() > 1e-3


def test_the_filter_learns_its_phase_and_keeps_it() -> None:
    """A few views of the moving eye tell the phase; a player who stands still tells nothing, and time goes on."""
    angle, phase = 2 * math.pi / 5, 0.7
    amplitudes = torch.tensor([[0.18, 0.05], [0.0, 0.0]])
    found = BobPhase.unknown(amplitudes)
    assert (found.offset(amplitudes) == 0).all()
    for t in range(5):
        true = torch.tensor([math.sin(phase + angle * t), math.cos(phase + angle * t)])
        found = found.update(amplitudes, (amplitudes * true).sum(-1)).predict(angle)
    for t in range(5, 15):
        true = torch.tensor([math.sin(phase + angle * t), math.cos(phase + angle * t)])
        torch.testing.assert_close(found.mean[0], true, atol=0.1, rtol=0)
        assert (found.mean[1] == 0).all()
        found = found.predict(angle)
