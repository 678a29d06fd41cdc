"""Weights in eight bits: what comes back, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from worldmodel.checkpoints.quantization import SCALE, dequantized, quantized


@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 2, 2)])
@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_no_value_is_off_by_more_than_half_a_step(shape: tuple[int, ...], size: float) -> None:
    """Half a step of a row is 1/254 of its largest value; the scale is rounded as well, by 1/512."""
    weight = size * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    stored = quantized("a.weight", weight)
    assert {name: tensor.dtype for name, tensor in stored.items()} == {
        "a.weight": torch.int8,
        "a.weight" + SCALE: torch.bfloat16,
    }
    back = dequantized(stored)
    assert back.keys() == {"a.weight"}
    assert back["a.weight"].shape == weight.shape
    largest = weight.flatten(1).abs().amax(1, keepdim=True)
    error = (back["a.weight"] - weight).flatten(1).abs()
    assert (error <= largest * (1 / 253)).all()


def test_rows_of_zeros_stay_zeros() -> None:
    """A row without values has no scale to divide by."""
    weight = torch.zeros(2, 3)
    weight[1] = torch.tensor([1.0, -1.0, 0.0])
    assert torch.allclose(dequantized(quantized("w", weight))["w"], weight, atol=1e-3)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_is_refused(value: float) -> None:
    """No weight becomes another without a word."""
    with pytest.raises(ValueError, match=r"w has values that are not finite"):
        quantized("w", torch.tensor([[1.0, value]]))


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"w": torch.zeros(2, 3, dtype=torch.int8)}, "w is not int8 with one scale a row"),
        ({"w": torch.zeros(2, 3), "w" + SCALE: torch.ones(2)}, "w is not int8 with one scale a row"),
        ({"w": torch.zeros(2, 3, dtype=torch.int8), "w" + SCALE: torch.ones(3)}, "w is not int8 with one scale a row"),
        ({"w": torch.zeros((), dtype=torch.int8), "w" + SCALE: torch.ones(())}, "w is not int8 with one scale a row"),
        ({"w" + SCALE: torch.ones(2)}, "w has scales and no values"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(tensors: dict[str, Tensor], words: str) -> None:
    """A file from somewhere else is judged before its numbers are used."""
    with pytest.raises(ValueError, match=words):
        dequantized(tensors)


def test_other_tensors_are_left_alone() -> None:
    """Single and half precision and counters pass as they are."""
    tensors = {"a": torch.ones(2), "b": torch.ones(2, 2).half(), "c": torch.tensor(3)}
    assert dequantized(tensors) == tensors
