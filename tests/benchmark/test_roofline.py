"""The machine's ceilings and the FLOPs of a computation."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from worldmodel.benchmark.roofline import Ceilings, count_flops, memory_speed, product_speed, weight_bytes

CPU = torch.device("cpu")


def test_flops_of_a_linear_layer_by_hand() -> None:
    """Two FLOPs for each multiplication with its addition, forward once and backward for inputs and weights."""
    layer = nn.Linear(8, 16)
    x = torch.randn(5, 8, requires_grad=True)
    forward = 2 * 5 * 8 * 16
    assert count_flops(lambda: layer(x)) == forward
    assert count_flops(lambda: layer(x).sum().backward()) == 3 * forward


def test_flops_of_a_convolution_by_hand() -> None:
    """A 3x3 convolution asks 9 products for each pair of channels and pixel."""
    layer = nn.Conv2d(3, 7, 3, padding=1)
    assert count_flops(lambda: layer(torch.randn(2, 3, 10, 10))) == 2 * 2 * 10 * 10 * 9 * 3 * 7


def test_flops_of_attention_by_hand() -> None:
    """Attention is two products, scores and values, whatever kernel computes it."""
    q, k, v = torch.randn(3, 2, 4, 6, 8)
    assert count_flops(lambda: F.scaled_dot_product_attention(q, k, v)) == 2 * (2 * 2 * 4 * 6 * 6 * 8)


def test_flops_do_not_depend_on_the_precision() -> None:
    """Under autocast the same products are counted, and casts are not."""
    layer = nn.Linear(8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert count_flops(lambda: layer(torch.randn(5, 8))) == 2 * 5 * 8 * 16


def test_weight_bytes() -> None:
    """Every weight once, at the size of the dtype computed in."""
    assert weight_bytes(nn.Linear(8, 16), torch.bfloat16) == 2 * (8 * 16 + 16)
    assert weight_bytes(nn.Linear(8, 16), torch.float32) == 4 * (8 * 16 + 16)


def test_ceilings_are_plausible() -> None:
    """No processor is slower than these floors or faster than these roofs, and each dtype has its own ceiling."""
    ceilings = Ceilings(
        bfloat16=product_speed(torch.bfloat16, CPU, seconds=0.01),
        float32=product_speed(torch.float32, CPU, seconds=0.01),
        memory=memory_speed(CPU, seconds=0.01),
    )
    assert 1e8 < ceilings.float32 < 1e15
    assert 1e8 < ceilings.bfloat16 < 1e16
    assert 1e8 < ceilings.memory < 1e13
    assert ceilings.products(torch.bfloat16) == ceilings.bfloat16
    assert ceilings.products(torch.float32) == ceilings.float32


def test_a_ceiling_is_what_a_product_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The speed is the FLOPs of the product over its time: eight times the work of a product of half the size."""
    speeds = []
    for size in (64, 128):
        monkeypatch.setattr("worldmodel.benchmark.roofline.PRODUCT_SIZE", {"cpu": size})
        ticks = iter(range(1000))
        monkeypatch.setattr(time, "perf_counter", lambda ticks=ticks: float(next(ticks)))
        speeds.append(product_speed(torch.float32, CPU, seconds=3.0))
    assert speeds == [2 * 64**3, 2 * 128**3]
