"""The codebooks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worldmodel.config import TokenizerConfig
from worldmodel.tokenizer.quantizer import EMACodebook, GradientCodebook, make_codebook, nearest_code

CONFIG = TokenizerConfig(frame_size=32, codebook_size=4, code_dim=3, hidden_dim=16, residual_dim=8)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 50), k=st.integers(1, 40), d=st.integers(1, 9))
def test_nearest_code_is_brute_force(seed: int, n: int, k: int, d: int) -> None:
    """The nearest code is the one with the least squared distance, for any sizes."""
    generator = torch.Generator().manual_seed(seed)
    latents, codebook = torch.randn(n, d, generator=generator), torch.randn(k, d, generator=generator)
    distances = (latents[:, None] - codebook).square().sum(-1)
    chosen = nearest_code(latents, codebook)
    torch.testing.assert_close(distances.gather(1, chosen[:, None])[:, 0], distances.min(1).values)


def test_nearest_code_of_a_codebook_vector_is_itself() -> None:
    """A latent that lies on a code becomes that code, also in many more rows than are compared at once."""
    codebook = torch.randn(16, 8)
    codes = torch.randint(16, (5000,))
    assert torch.equal(nearest_code(codebook[codes], codebook), codes)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_latents_that_are_not_finite_are_refused(value: float) -> None:
    """NaN must not silently become code 0."""
    with pytest.raises(ValueError, match="not finite"):
        nearest_code(torch.tensor([[value, 0.0]]), torch.zeros(4, 2))


def test_ema_update_by_hand() -> None:
    """One update moves counts and sums by 1 - gamma and puts each code at their quotient (appendix A.1, eq. 6-8)."""
    codebook = EMACodebook(CONFIG)
    codebook.vectors.copy_(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    codebook.counts.fill_(2.0)
    codebook.sums.copy_(2 * codebook.vectors)
    codebook.started.fill_(True)
    codebook.updates.fill_(10_000)  # the first updates forget sooner
    latents = torch.tensor([[1.2, 0.0, 0.0], [1.4, 0.0, 0.0], [0.0, 0.8, 0.0]])
    codebook.update(latents, codebook.codes(latents), restart=False, generator=torch.Generator())
    gamma = 0.99
    counts = gamma * 2 + (1 - gamma) * torch.tensor([0.0, 2, 1, 0])
    sums = gamma * 2 * torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    sums += (1 - gamma) * torch.tensor([[0.0, 0, 0], [2.6, 0, 0], [0, 0.8, 0], [0, 0, 0]])
    torch.testing.assert_close(codebook.counts, counts)
    torch.testing.assert_close(codebook.sums, sums)
    torch.testing.assert_close(codebook.vectors, sums / counts[:, None], rtol=1e-4, atol=1e-6)


def test_ema_codebook_starts_from_the_data() -> None:
    """After the first batch every code lies on a latent, and a second batch does not start it again."""
    codebook = EMACodebook(CONFIG)
    latents = torch.randn(20, 3) + 5
    codebook.start(latents, generator=torch.Generator().manual_seed(0))
    assert ((codebook.vectors[:, None] - latents).abs().sum(-1).min(1).values == 0).all()
    before = codebook.vectors.clone()
    codebook.start(latents + 100, generator=torch.Generator())
    assert torch.equal(codebook.vectors, before)


def test_dead_codes_restart_with_their_statistics() -> None:
    """A code that nothing is assigned to moves onto a latent, its count and sum with it; without `restart` it stays."""
    latents = torch.randn(64, 3)
    for restart in (True, False):
        codebook = EMACodebook(CONFIG)
        codebook.start(latents, generator=torch.Generator().manual_seed(0))
        codebook.vectors[2] = 1e3
        codebook.counts[2], codebook.sums[2] = 1e-4, 0.1
        codebook.update(latents, codebook.codes(latents), restart=restart, generator=torch.Generator().manual_seed(1))
        on_latent = (codebook.vectors[2] - latents).abs().sum(-1).min() == 0
        assert bool(on_latent) is restart
        if restart:
            torch.testing.assert_close(codebook.sums[2] / codebook.counts[2], codebook.vectors[2])


def test_gradient_codebook_learns_from_its_loss() -> None:
    """The gradient of eq. 3's second term pulls each chosen code towards its latent and leaves the latent alone."""
    codebook = GradientCodebook(CONFIG)
    latents = torch.randn(10, 3, requires_grad=True)
    codes = codebook.codes(latents.detach())
    quantized = codebook.lookup(codes)
    codebook.loss(latents, quantized).sum().backward()
    assert latents.grad is None
    expected = torch.zeros(4, 3).index_add_(0, codes, 2 * (quantized - latents).detach())
    torch.testing.assert_close(codebook.vectors.grad, expected)


def test_config_chooses_the_codebook() -> None:
    """`codebook` in the config names the class."""
    assert isinstance(make_codebook(CONFIG), EMACodebook)
    gradient = TokenizerConfig(codebook="gradient")
    assert isinstance(make_codebook(gradient), GradientCodebook)
    with pytest.raises(ValueError, match="'ema' or 'gradient'"):
        TokenizerConfig(codebook="vq")
