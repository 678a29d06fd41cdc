"""The VAE: KL, bound, gradients, and what it shares with the tokenizer."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tests.models import tiny_tokenizer, tiny_vae
from worldmodel.checkpoints.checkpoint import Checkpoint, write
from worldmodel.config import TokenizerConfig, VAEConfig, from_dict, to_dict
from worldmodel.tokenizer.model import Tokenizer
from worldmodel.tokenizer.vae import VAE, Posterior, active
from worldmodel.training.tokenizer import save_tokenizer

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (2, 3, 32, 32, 3), dtype=np.uint8)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_posterior() -> Posterior:
    generator = seeded(1)
    return Posterior(torch.randn(3, 2, 4, 4, generator=generator), torch.randn(3, 2, 4, 4, generator=generator))


def test_shapes_and_ranges() -> None:
    """Frames of 32 pixels become 8x8 latents of 8 numbers and come back as uint8 frames of the same shape."""
    vae = tiny_vae()
    latents = vae.encode(FRAMES)
    assert latents.shape == (2, 3, 8, 8, 8)
    frames = vae.decode(latents)
    assert frames.shape == FRAMES.shape
    assert frames.dtype == np.uint8
    with pytest.raises(ValueError, match="32x32x3, got 64x64x3"):
        vae.encode(np.zeros((1, 1, 64, 64, 3), np.uint8))


def test_the_networks_are_the_tokenizers() -> None:
    """At the defaults only the encoder's last layer differs, which gives a variance beside each mean."""
    assert VAEConfig().latent_grid == TokenizerConfig().code_grid
    with torch.device("meta"):
        vae, tokenizer = VAE(VAEConfig()), Tokenizer(TokenizerConfig())
    shapes = {name: weight.shape for name, weight in vae.named_parameters()}
    theirs = {name: weight.shape for name, weight in tokenizer.named_parameters()}
    assert shapes.keys() == theirs.keys()
    last = f"encoder.{len(vae.encoder) - 1}"
    assert {name.rpartition(".")[0] for name in shapes if shapes[name] != theirs[name]} == {last}
    assert shapes[f"{last}.weight"][0] == 2 * theirs[f"{last}.weight"][0]


def test_kl_is_that_of_two_gaussians() -> None:
    """Each latent's KL is torch.distributions' from N(mean, variance) to N(0, 1); the prior itself costs nothing."""
    posterior = some_posterior()
    reference = kl_divergence(Normal(posterior.mean, (0.5 * posterior.log_variance).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(posterior.kl(), reference)
    nothing = torch.zeros(1, 2, 4, 4)
    assert not Posterior(nothing, nothing).kl().any()


def test_samples_have_the_posteriors_moments() -> None:
    """Over many draws a latent has its mean and its variance, and the seed decides the draw."""
    posterior = some_posterior()
    many = Posterior(posterior.mean.expand(20_000, 3, 2, 4, 4)[:, 0], posterior.log_variance[0].expand(20_000, 2, 4, 4))
    drawn = many.sample(generator=seeded())
    torch.testing.assert_close(drawn.mean(0), posterior.mean[0], atol=0.1, rtol=0)
    torch.testing.assert_close(drawn.var(0).log(), posterior.log_variance[0], atol=0.1, rtol=0)
    again, other = (posterior.sample(generator=seeded(seed)) for seed in (0, 2))
    assert torch.equal(again, posterior.sample(generator=seeded()))
    assert not torch.equal(again, other)


def test_the_gradient_passes_through_the_draw() -> None:
    """d sample / d mean is 1, and d sample / d log-variance half of what the noise adds."""
    fixed = some_posterior()
    posterior = Posterior(fixed.mean.requires_grad_(), fixed.log_variance.requires_grad_())
    drawn = posterior.sample(generator=seeded())
    drawn.sum().backward()
    torch.testing.assert_close(posterior.mean.grad, torch.ones_like(drawn))
    torch.testing.assert_close(posterior.log_variance.grad, (0.5 * (drawn - posterior.mean)).detach())


def test_the_pixels_gradient_reaches_the_encoder() -> None:
    """Also without the KL every weight of the encoder learns from the pixels, those of the variances too."""
    vae = tiny_vae().train()
    pixels = torch.from_numpy(FRAMES).flatten(0, 1)
    posterior = vae.posterior(pixels)
    vae.nll(vae.squared_errors(pixels, vae.decoder(posterior.sample(generator=seeded()))).mean()).backward()
    for name, weight in vae.encoder.named_parameters():
        assert weight.grad is not None
        assert weight.grad.abs().sum() > 0, name
    last = vae.encoder[-1].weight.grad
    assert all(half.abs().sum() > 0 for half in last.chunk(2))


def test_loss_is_the_negative_elbo_per_pixel_value() -> None:
    """-E_q[log p(x | z)] + KL, from Normal densities of the same draw, over the number of pixel values."""
    vae = tiny_vae()
    frames = torch.from_numpy(FRAMES)
    losses = vae.loss(frames, generator=seeded())
    posterior = vae.posterior(frames.flatten(0, 1))
    mean = (vae.decoder(posterior.sample(generator=seeded())) + 1) * 127.5
    x = frames.flatten(0, 1).permute(0, 3, 1, 2).float()
    log_likelihood = Normal(mean, vae.log_deviation.exp()).log_prob(x).sum()
    elbo = (
        log_likelihood - kl_divergence(Normal(posterior.mean, (0.5 * posterior.log_variance).exp()), Normal(0, 1)).sum()
    )
    torch.testing.assert_close(losses.total, (-elbo / x.numel()).detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses.total, losses.nll + losses.kl)
    again = vae.loss(frames, generator=seeded())
    assert torch.equal(again.total, losses.total)


def test_the_loss_is_a_bound() -> None:
    """-ELBO is never below -log p(x), which importance sampling estimates from below (Burda et al. 2016, theorem 1)."""
    vae = tiny_vae(latent_dim=1, frame_size=4)
    frames = torch.from_numpy(FRAMES[:1, :1, :4, :4])
    with torch.no_grad():
        posterior = vae.posterior(frames.flatten(0, 1))
        deviation = (0.5 * posterior.log_variance).exp()
        bounds, weights = [], []
        x = frames.flatten(0, 1).permute(0, 3, 1, 2).float()
        for seed in range(400):
            bounds.append(vae.loss(frames, generator=seeded(seed)).total.item() * x.numel())
            latents = posterior.sample(generator=seeded(seed))
            mean = (vae.decoder(latents) + 1) * 127.5
            joint = Normal(mean, vae.log_deviation.exp()).log_prob(x).sum() + Normal(0, 1).log_prob(latents).sum()
            weights.append(joint - Normal(posterior.mean, deviation).log_prob(latents).sum())
    evidence = torch.logsumexp(torch.stack(weights), 0).item() - math.log(400)
    assert -np.mean(bounds) <= evidence + 1e-3


def test_training_lowers_the_bound_and_wakes_latents() -> None:
    """A few steps on one batch lower -ELBO, and latents begin to vary with the frame."""
    vae = tiny_vae().train()
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-2)
    frames = torch.from_numpy(np.repeat(FRAMES[:, :, ::8, ::8], 8, 2).repeat(8, 3))
    generator = seeded()
    totals = []
    for _ in range(100):
        losses = vae.loss(frames, generator=generator)
        losses.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        totals.append(losses.total.item())
    assert totals[-1] < totals[0] - 0.5
    assert active(losses.means).sum() > 16


def test_active_units_by_hand() -> None:
    """A latent whose mean varies over the frames by more than 0.01 is active (Burda et al. 2016)."""
    means = torch.zeros(2, 3, 1, 1)
    means[1, 1], means[1, 2] = 0.19, 0.21  # variances 0.009 and 0.011
    assert active(means).flatten().tolist() == [False, False, True]


def test_latents_that_are_not_finite_are_refused() -> None:
    """A damaged encoder does not pass for one that says nothing."""
    vae = tiny_vae()
    with torch.no_grad():
        vae.encoder[0].bias.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        vae.encode(FRAMES)


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    """What was saved reconstructs the same frames and has the same fingerprint; a tokenizer and a VAE are two kinds."""
    vae = tiny_vae()
    save_tokenizer(vae, tmp_path / "vae", {})
    loaded = VAE.from_pretrained(tmp_path / "vae")
    assert np.array_equal(loaded.decode(loaded.encode(FRAMES)), vae.decode(vae.encode(FRAMES)))
    assert loaded.fingerprint() == vae.fingerprint()
    assert from_dict(VAEConfig, to_dict(vae.config)) == vae.config
    with pytest.raises(ValueError, match="is a vae checkpoint, not a tokenizer checkpoint"):
        Tokenizer.from_pretrained(tmp_path / "vae")
    save_tokenizer(tiny_tokenizer(), tmp_path / "vq", {})
    with pytest.raises(ValueError, match="is a tokenizer checkpoint, not a vae checkpoint"):
        VAE.from_pretrained(tmp_path / "vq")
    other = Checkpoint(kind="vae", config=to_dict(vae.config) | {"codebook": "ema"}, metrics={}, tensors={})
    write(tmp_path / "vae", other)
    with pytest.raises(ValueError, match="unknown settings for VAEConfig: codebook"):
        VAE.from_pretrained(tmp_path / "vae")


def test_sizes_that_cannot_be_are_refused() -> None:
    """A grid is whole and a latent has numbers; the count of a frame's latents follows."""
    with pytest.raises(ValueError, match="frame_size must be a multiple of 4, got 30"):
        VAEConfig(frame_size=30)
    with pytest.raises(ValueError, match="latent_dim must be above 0, got 0"):
        VAEConfig(latent_dim=0)
    assert dataclasses.replace(VAEConfig(), latent_dim=2).num_latents == 2 * 32 * 32
