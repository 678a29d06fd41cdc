"""What is known of a past goes with its rows."""

from __future__ import annotations

import pytest
import torch

from tests.models import OUTSIDE, expecting, tiny_dynamics, tiny_tokenizer
from worldmodel.simulator import Simulator

CODES = torch.randint(16, (3, 4, 8, 8), generator=torch.Generator().manual_seed(5))
ACTIONS = torch.randint(4, (3, 7), generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("outside", OUTSIDE)
def test_rows_that_begin_anew_go_on_as_if_alone(outside: str) -> None:
    """A row that is reset in the middle of others' futures has the future that it has by itself; the others go on."""
    dynamics = tiny_dynamics(expectation=outside != "none")
    simulator = Simulator(tiny_tokenizer(), dynamics, expecting(outside, dynamics), precision="float32", temperature=0)
    simulator.reset_codes(CODES[:2], ACTIONS[:2, :3])
    undisturbed = simulator.fork()
    undisturbed._latest = simulator._latest
    for t in (3, 4):
        simulator.step(ACTIONS[:2, t])
    simulator.reset_rows(torch.tensor([1]), CODES[2:], ACTIONS[2:, :3])
    mixed = [simulator.step(torch.stack([ACTIONS[0, t + 2], ACTIONS[2, t]])) for t in (3, 4)]
    simulator.reset_codes(CODES[2:], ACTIONS[2:, :3])
    alone = [simulator.step(ACTIONS[2:, t]) for t in (3, 4)]
    others = [undisturbed.step(ACTIONS[:2, t]) for t in (3, 4, 5, 6)][2:]
    for got, own, other in zip(mixed, alone, others, strict=True):
        assert torch.equal(got[1], own[0])
        assert torch.equal(got[0], other[0])
