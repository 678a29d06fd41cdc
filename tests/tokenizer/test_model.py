"""The tokenizer: shapes, gradients, likelihood, fingerprint."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.models import tiny_tokenizer
from worldmodel.tokenizer.model import change_weights
from worldmodel.tokenizer.networks import decoder, encoder

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (2, 3, 32, 32, 3), dtype=np.uint8)


def test_shapes_and_ranges() -> None:
    """Frames of 32 pixels become 8x8 codes below K and come back as uint8 frames of the same shape."""
    tokenizer = tiny_tokenizer()
    codes = tokenizer.encode(FRAMES)
    assert codes.shape == (2, 3, 8, 8)
    assert codes.dtype == torch.int64
    assert 0 <= codes.min() <= codes.max() < 16
    frames = tokenizer.decode(codes)
    assert frames.shape == FRAMES.shape
    assert frames.dtype == np.uint8


def test_the_default_is_the_papers_shape() -> None:
    """128x128x3 frames become 32x32 codes of 512."""
    from worldmodel.config import TokenizerConfig

    config = TokenizerConfig()
    assert (config.code_grid, config.codebook_size) == (32, 512)
    assert encoder(config, config.code_dim)(torch.zeros(1, 3, 128, 128)).shape == (1, config.code_dim, 32, 32)
    assert decoder(config, config.code_dim)(torch.zeros(1, config.code_dim, 32, 32)).shape == (1, 3, 128, 128)


def test_encoding_is_independent_of_the_batch() -> None:
    """A frame's codes do not depend on its neighbours in the batch."""
    tokenizer = tiny_tokenizer()
    together = tokenizer.encode(FRAMES)
    alone = tokenizer.encode(FRAMES[1:, 2:])
    assert torch.equal(together[1:, 2:], alone)


def test_wrong_frame_size_is_refused() -> None:
    """Frames of another size are refused with both sizes."""
    with pytest.raises(ValueError, match="32x32x3, got 64x64x3"):
        tiny_tokenizer().encode(np.zeros((1, 1, 64, 64, 3), np.uint8))


def test_straight_through_gradient_is_the_identity() -> None:
    """The reconstruction's gradient reaches the latents as if quantization were the identity."""
    tokenizer = tiny_tokenizer(commitment_weight=0.0).train()
    seen = {}
    tokenizer.encoder.register_forward_hook(lambda module, args, out: seen.update(latents=out) or out.retain_grad())
    tokenizer.decoder.register_forward_pre_hook(
        lambda module, args: seen.update(quantized=args[0]) or args[0].retain_grad()
    )
    tokenizer.loss(torch.from_numpy(FRAMES), generator=torch.Generator()).total.backward()
    assert seen["latents"].grad.abs().sum() > 0
    torch.testing.assert_close(seen["latents"].grad, seen["quantized"].grad)
    assert not torch.allclose(seen["latents"], seen["quantized"])


def test_loss_is_the_gaussian_code_length() -> None:
    """nll is the mean of -log N(x; decoded mean, deviation) in grey levels, and commitment eq. 3's third term."""
    tokenizer = tiny_tokenizer()
    frames = torch.from_numpy(FRAMES)
    losses = tokenizer.loss(frames, generator=torch.Generator())
    latents = tokenizer.latents(frames.flatten(0, 1))
    codes = tokenizer.encode(FRAMES).flatten(0, 1)
    quantized = tokenizer.codebook.lookup(codes).permute(0, 3, 1, 2)
    mean = (tokenizer.decoder(quantized) + 1) * 127.5
    deviation = tokenizer.log_deviation.exp()
    x = frames.flatten(0, 1).permute(0, 3, 1, 2).float()
    nll = -torch.distributions.Normal(mean, deviation).log_prob(x).mean()
    torch.testing.assert_close(losses.nll, nll.detach(), rtol=1e-4, atol=1e-5)
    commitment = (latents - quantized).square().sum() / x.numel()
    torch.testing.assert_close(losses.commitment, commitment.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses.total, nll + 0.25 * commitment, rtol=1e-4, atol=1e-5)


def test_likelihood_is_normalised() -> None:
    """At the smallest deviation, one grey level, the density sums to 1 over the whole numbers."""
    values = torch.arange(-50, 51, dtype=torch.float64)
    for mean in (0.0, 0.3, 0.5):
        density = torch.exp(-0.5 * (values - mean) ** 2) / math.sqrt(2 * math.pi)
        assert abs(density.sum().item() - 1) < 1e-7


def test_training_lowers_the_loss_and_uses_codes() -> None:
    """A few steps on one batch reconstruct it better."""
    tokenizer = tiny_tokenizer().train()
    optimizer = torch.optim.Adam(tokenizer.parameters(), lr=1e-2)
    frames = torch.from_numpy(np.repeat(FRAMES[:, :, ::8, ::8], 8, 2).repeat(8, 3))
    mse = []
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        losses = tokenizer.loss(frames, generator=generator)
        losses.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        mse.append(losses.mse.item())
    assert mse[-1] < 0.5 * mse[0]
    assert len(losses.codes.unique()) > 4


def test_fingerprint_follows_what_codes_mean() -> None:
    """Another encoder or codebook gives another fingerprint; another decoder does not change the codes or it."""
    tokenizer = tiny_tokenizer()
    before = tokenizer.fingerprint()
    with torch.no_grad():
        tokenizer.decoder[0].weight.add_(1)
    assert tokenizer.fingerprint() == before
    with torch.no_grad():
        tokenizer.codebook.vectors[0, 0] += 1e-3
    assert tokenizer.fingerprint() != before


def test_codes_keep_their_meaning_while_the_decoder_learns_alone() -> None:
    """The codebook learns with the encoder: where that stands still, no code moves, and the fingerprint stays."""
    tokenizer = tiny_tokenizer().train()
    frames, generator = torch.from_numpy(FRAMES), torch.Generator().manual_seed(0)
    tokenizer.loss(frames, generator=generator)  # it starts on data
    before, name = tokenizer.codebook.vectors.clone(), tokenizer.fingerprint()
    tokenizer.encoder.requires_grad_(False)
    losses = tokenizer.loss(frames, generator=generator)
    losses.total.backward()
    assert torch.equal(tokenizer.codebook.vectors, before)
    assert tokenizer.fingerprint() == name
    assert all(weight.grad is not None for weight in tokenizer.decoder.parameters())
    tokenizer.encoder.requires_grad_(True)
    tokenizer.loss(frames, generator=generator)
    assert not torch.equal(tokenizer.codebook.vectors, before)


def test_what_changed_counts_more_and_the_mean_weight_is_one() -> None:
    """A pixel that differs from the frame before weighs `weight` times another; even change weighs evenly."""
    previous = torch.zeros(1, 1, 8, 8, 3, dtype=torch.uint8)
    frames = previous.clone()
    frames[0, 0, 2, 3, 1] = 200
    weights = change_weights(frames, previous, 20.0)
    assert weights[0, 0, 2, 3] / weights[0, 0, 0, 0] == pytest.approx(20.0)
    assert weights.mean() == pytest.approx(1.0)
    assert torch.equal(change_weights(previous + 200, previous, 20.0), torch.ones(1, 1, 8, 8))


def test_weights_move_the_gradient_and_not_the_figures() -> None:
    """Weights of one change nothing; others change the networks' gradient, while nll, mse and sigma's stay."""
    frames = torch.from_numpy(FRAMES)

    def grown(weights: torch.Tensor | None) -> tuple[list[torch.Tensor], list[float]]:
        tokenizer = tiny_tokenizer().train()
        losses = tokenizer.loss(frames, weights, generator=torch.Generator().manual_seed(0))
        losses.total.backward()
        gradients = [p.grad for p in (tokenizer.decoder[0].weight, tokenizer.log_deviation) if p.grad is not None]
        return gradients, [losses.nll.item(), losses.mse.item()]

    even, plain = grown(torch.ones(FRAMES.shape[:-1])), grown(None)
    weights = change_weights(frames, torch.zeros_like(frames), 20.0)
    weights[:, :, :16] *= 2
    uneven = grown(weights / weights.mean())
    assert even[1] == plain[1] == uneven[1]
    for ours, theirs in zip(even[0], plain[0], strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not torch.allclose(uneven[0][0], plain[0][0], rtol=1e-2)
    torch.testing.assert_close(uneven[0][1], plain[0][1])
