"""Sampling codes from logits."""

from __future__ import annotations

import pytest
import torch

from worldmodel.dynamics.sampling import check_sampling, gumbel_noise, sample

DRAWS = 100_000


def noise(*shape: int) -> torch.Tensor:
    return gumbel_noise(shape, torch.Generator().manual_seed(0))


def test_gumbel_noise_has_its_distribution() -> None:
    """P(noise <= x) is exp(-exp(-x)), and no draw is infinite."""
    draws = noise(DRAWS)
    assert draws.isfinite().all()
    for x in (-1.0, 0.0, 1.0, 3.0):
        expected = torch.exp(-torch.exp(torch.tensor(-x)))
        torch.testing.assert_close((draws <= x).float().mean(), expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_follow_the_distribution(temperature: float) -> None:
    """Each code is drawn as often as its probability says, at any temperature."""
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    codes = sample(logits.expand(DRAWS, 4), noise(DRAWS, 4), temperature=temperature)
    shares = torch.bincount(codes, minlength=4) / DRAWS
    torch.testing.assert_close(shares, torch.softmax(logits / temperature, -1), rtol=0, atol=6e-3)


@pytest.mark.parametrize("temperature", [0.0, 1e-300])
def test_the_lowest_temperatures_take_the_likeliest_code(temperature: float) -> None:
    """At temperature 0, and however little above it, the likeliest code is taken whatever the noise."""
    logits = torch.randn(50, 16)
    assert torch.equal(sample(logits, 100 * noise(50, 16), temperature=temperature), logits.argmax(-1))


def test_top_k_draws_among_the_likeliest() -> None:
    """With top-k only the k likeliest codes appear, in their own proportions."""
    logits = torch.tensor([3.0, 2.0, 1.0, 0.0])
    codes = sample(logits.expand(DRAWS, 4), noise(DRAWS, 4), top_k=2)
    assert set(codes.tolist()) == {0, 1}
    torch.testing.assert_close((codes == 0).float().mean(), torch.softmax(logits[:2], -1)[0], rtol=0, atol=6e-3)


def test_impossible_codes_are_never_drawn() -> None:
    """A code without probability is not drawn, whatever its noise."""
    logits = torch.tensor([[float("-inf"), 0.0, 0.0, float("-inf")]])
    assert sample(logits, torch.tensor([[16.0, -3.0, -4.0, 16.0]])).item() == 1


@pytest.mark.parametrize(("temperature", "top_k"), [(-1.0, 0), (float("nan"), 0), (float("inf"), 0), (1.0, -1)])
def test_impossible_settings_are_refused(temperature: float, top_k: int) -> None:
    """A negative or infinite temperature and a negative top-k are refused."""
    with pytest.raises(ValueError, match="must be 0"):
        check_sampling(temperature, top_k)
