"""What a tokenizer or a VAE makes of clips: by hand, and against torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tests.models import tiny_tokenizer, tiny_vae
from worldmodel.evaluation.harness.clips import Clips, psnr
from worldmodel.evaluation.metrics import coding
from worldmodel.runtime import autocast
from worldmodel.tokenizer.model import Tokenizer
from worldmodel.tokenizer.vae import VAE

RNG = np.random.default_rng(0)
CLIPS = Clips(RNG.integers(0, 256, (3, 2, 32, 32, 3), dtype=np.uint8), np.zeros((3, 1), np.int64))
VALUES = 32 * 32 * 3


def rebuild(model: Tokenizer | VAE) -> np.ndarray:
    """What is left of the clips, one by one, computed as an evaluation computes: in bfloat16 where that is fast."""
    latents = [model.encode(clip[None]) for clip in CLIPS.frames]
    with autocast(model.device):
        return np.concatenate([model.decode(clip) for clip in latents])


def test_usage_by_hand() -> None:
    """Two codes at a half each have perplexity 2; a code that never appears is not used."""
    assert coding.usage(np.array([5, 0, 5])) == {
        "codebook_size": 3,
        "codes_used": 2,
        "perplexity": pytest.approx(2),
        "commonest_code": 0.5,
    }
    assert coding.usage(np.array([7, 0]))["perplexity"] == 1


def test_the_codes_cost_what_the_uniform_prior_says() -> None:
    """64 codes of 16 are 256 bits a frame, and the bound is those and the pixels' Gaussian, per pixel value."""
    tokenizer = tiny_tokenizer()
    found = coding.alone(tokenizer, CLIPS, seed=0, on_clip=lambda done: None)
    assert found.bits == pytest.approx(64 * 4)
    rebuilt = rebuild(tokenizer)
    assert np.array_equal(found.reconstruction, rebuilt)
    density = Normal(torch.from_numpy(rebuilt).double(), tokenizer.log_deviation.exp().double())
    bits = -density.log_prob(torch.from_numpy(CLIPS.frames).double()).mean((2, 3, 4)).detach() / math.log(2)
    bound = coding.per_clip(found)["bits_per_dim"]
    np.testing.assert_allclose(bound, bits.numpy() + 256 / VALUES, rtol=1e-5)


def test_the_latents_cost_their_kl() -> None:
    """A frame's bits are the sum of its latents' KL, and the pixels are those of a draw from the posterior."""
    vae = tiny_vae()
    found = coding.alone(vae, CLIPS, seed=0, on_clip=lambda done: None)
    posterior = vae.posteriors(CLIPS.frames)
    each = kl_divergence(Normal(posterior.mean, (0.5 * posterior.log_variance).exp()), Normal(0.0, 1.0))
    bits = each.sum((1, 2, 3)) / math.log(2)
    assert found.bits == pytest.approx(bits.mean().item(), rel=1e-4)
    np.testing.assert_allclose(found.rows["latents"].ravel() * VALUES, bits.numpy(), rtol=1e-4)
    assert found.usage["bits_per_frame/kl"] == pytest.approx(found.bits, rel=1e-4)
    assert np.array_equal(found.reconstruction, rebuild(vae))
    np.testing.assert_allclose(psnr(found.sampled, CLIPS.frames), found.rows["psnr_sample"])
    squares = 255**2 / 10 ** (found.rows["psnr_sample"] / 10)
    nats = vae.nll(torch.from_numpy(squares)).detach().numpy()
    np.testing.assert_allclose(found.rows["pixels"], nats / math.log(2), rtol=1e-5)


def test_other_latents_are_those_of_the_clip_before() -> None:
    """The contrast decodes the latents of another clip's frame, clip by clip in a circle."""
    for model in (tiny_tokenizer(), tiny_vae()):
        found = coding.alone(model, CLIPS, seed=0, on_clip=lambda done: None)
        others = np.roll(found.reconstruction, 1, axis=0)
        np.testing.assert_allclose(found.rows["psnr_other"], psnr(others, CLIPS.frames))
        again = coding.alone(model, CLIPS, seed=0, on_clip=lambda done: None)
        assert all(np.array_equal(again.rows[name], values) for name, values in found.rows.items())


def test_a_collapsed_decoder_loses_nothing() -> None:
    """Where the decoder ignores the latents, another clip's are as good, and no unit is active."""
    vae = tiny_vae()
    with torch.no_grad():
        vae.decoder[0].weight.zero_()
        vae.encoder[-1].weight.zero_()
        vae.encoder[-1].bias.zero_()
    found = coding.alone(vae, CLIPS, seed=0, on_clip=lambda done: None)
    nearness = psnr(found.reconstruction, CLIPS.frames)
    said = coding.facts(found, nearness, CLIPS.moving, np.random.default_rng(0))
    assert said.tables["dependence_on_latents"]["lost with another clip's latents", "psnr"].value == 0
    assert said.tables["bits_per_dim"]["latents", "bits"].value == 0
    assert found.usage["active_units"] == found.usage["active_channels"] == 0
    assert found.usage["inactive_share"] == found.usage["kl_bits_a_unit/silent_share"] == 1
    assert all(math.isfinite(value) for value in found.usage.values())


def test_units_are_counted_over_all_clips() -> None:
    """Active units are those whose mean varies over the frames of all clips; the KL's percentiles are over units."""
    vae = tiny_vae()
    with torch.no_grad():
        vae.encoder[-1].weight *= 20
    used = coding.alone(vae, CLIPS, seed=0, on_clip=lambda done: None).usage
    posterior = vae.posteriors(CLIPS.frames)
    variance = posterior.mean.var(0, correction=0)
    assert used["units"] == 8 * 8 * 8
    assert 0 < used["active_units"] == int((variance > 0.01).sum())
    assert used["active_channels"] == int((variance.mean((1, 2)) > 0.01).sum())
    bits = posterior.kl().mean(0).flatten().numpy() / math.log(2)
    assert used["kl_bits_a_unit/percentile_50"] == pytest.approx(np.median(bits), rel=1e-3)
    first = np.cumsum(np.sort(bits)[::-1]) / bits.sum()
    needed = used["kl_bits_a_unit/share_of_units_with_most_of_it"] * 512
    assert needed == pytest.approx(np.argmax(first >= 0.9) + 1)
