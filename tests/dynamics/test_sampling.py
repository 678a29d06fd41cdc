"""Sampling codes from logits."""

from __future__ import annotations

import pytest
import torch

from worldmodel.dynamics.sampling import check_sampling, sample


def test_frequencies_follow_the_distribution() -> None:
    """Evenly spread noise draws each code as often as its probability says, at any temperature."""
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    noise = (torch.arange(10_000) + 0.5) / 10_000
    for temperature in (0.5, 1.0, 2.0):
        codes = sample(logits.expand(10_000, 4), noise, temperature=temperature)
        shares = torch.bincount(codes, minlength=4) / 10_000
        torch.testing.assert_close(shares, torch.softmax(logits / temperature, -1), rtol=0, atol=2e-4)


def test_temperature_zero_ignores_the_noise() -> None:
    """At temperature 0 the likeliest code is taken whatever the noise."""
    logits = torch.randn(50, 16)
    for value in (0.0, 0.999):
        assert torch.equal(sample(logits, torch.full((50,), value), temperature=0), logits.argmax(-1))


def test_the_lowest_temperature_is_the_likeliest_code() -> None:
    """However low the temperature, sampling stays finite and approaches the likeliest code."""
    logits = torch.randn(50, 16)
    codes = sample(logits, torch.rand(50), temperature=1e-300)
    assert torch.equal(codes, logits.argmax(-1))


def test_top_k_draws_among_the_likeliest() -> None:
    """With top-k only the k likeliest codes appear, in their own proportions."""
    logits = torch.tensor([3.0, 2.0, 1.0, 0.0])
    noise = (torch.arange(1000) + 0.5) / 1000
    codes = sample(logits.expand(1000, 4), noise, top_k=2)
    assert set(codes.tolist()) == {0, 1}
    torch.testing.assert_close((codes == 0).float().mean(), torch.softmax(logits[:2], -1)[0], rtol=0, atol=2e-3)


@pytest.mark.parametrize("noise", [0.0, 1.0 - 1e-7, 1.0])
def test_extreme_noise_stays_in_range_and_in_the_support(noise: float) -> None:
    """Noise at the ends of its range draws a code that has probability."""
    logits = torch.tensor([[float("-inf"), 0.0, 0.0, float("-inf")]])
    code = sample(logits, torch.tensor([noise]))
    assert code.item() in {1, 2}


@pytest.mark.parametrize(("temperature", "top_k"), [(-1.0, 0), (float("nan"), 0), (float("inf"), 0), (1.0, -1)])
def test_impossible_settings_are_refused(temperature: float, top_k: int) -> None:
    """A negative or infinite temperature and a negative top-k are refused."""
    with pytest.raises(ValueError, match="must be 0"):
        check_sampling(temperature, top_k)
