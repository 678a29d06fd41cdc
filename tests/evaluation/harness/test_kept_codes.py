"""Imagined codes are kept, and only what was asked for comes back."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.worlds import tiny_simulator
from worldmodel.evaluation.harness.kept_codes import KeptCodes, identity_of


def test_codes_are_imagined_once(tmp_path: Path) -> None:
    """The same question has the same codes without imagining; another one, another simulator or damage has not."""
    calls = []

    def imagine() -> torch.Tensor:
        calls.append(1)
        return torch.arange(8).view(1, 2, 2, 2) + len(calls)

    kept = KeptCodes(tmp_path, "simulator")
    first = kept.take(b"asked", imagine)
    assert torch.equal(kept.take(b"asked", imagine), first)
    assert len(calls) == 1
    assert not torch.equal(kept.take(b"asked otherwise", imagine), first)
    assert not torch.equal(KeptCodes(tmp_path, "another").take(b"asked", imagine), first)
    for file in tmp_path.glob("*.safetensors"):
        file.write_bytes(b"damaged")
    kept.take(b"asked", imagine)
    assert len(calls) == 4


def test_another_simulator_is_another() -> None:
    """Weights and settings decide, and the same ones agree."""
    first = tiny_simulator()
    assert identity_of(first) == identity_of(tiny_simulator())
    assert identity_of(first) != identity_of(tiny_simulator(temperature=0.5))
    with torch.no_grad():
        first.dynamics.decoder.head.bias[0] += 1
    assert identity_of(first) != identity_of(tiny_simulator())
