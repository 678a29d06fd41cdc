"""Clips encoded and decoded by a tokenizer or a VAE: reconstructions, bits, and how the latents are used."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ...config import TokenizerConfig
from ...runtime import autocast
from ...tokenizer.model import Tokenizer
from ...tokenizer.vae import ACTIVE_VARIANCE, VAE
from ..answers import Answer, Table
from ..harness.clips import Clips, psnr
from .intervals import all_and_moving, bootstrap, paired

SILENT_BITS = 0.01  # a unit with less KL says nothing
MOST = 0.9  # of the KL
PERCENTILES = (10, 50, 90, 99)


@dataclass(frozen=True, kw_only=True)
class Coding:
    """Clips that went through a model."""

    reconstruction: np.ndarray  # uint8 (b t H W 3)
    sampled: np.ndarray  # the same of draws from the posterior: what `bits` are the price of
    bits: float  # of a frame's latents, under the prior that needs no dynamics
    usage: dict[str, float]  # how the latents are used, by name
    rows: dict[str, np.ndarray] = field(default_factory=dict)  # (b t) of a model that is asked alone, see `alone`


@dataclass(frozen=True)
class Encoded:
    """A clip's latents: codes (t h w), or numbers (t d h w)."""

    point: Tensor  # the codes, or the posterior's mean
    sampled: Tensor  # from the posterior: the same codes, as it is sure of them
    kl: Tensor  # KL(q || prior) of each, nats

    @property
    def bits(self) -> np.ndarray:
        """KL(q || prior) of each frame in bits: float64 (t)."""
        nats: np.ndarray = self.kl.flatten(1).double().sum(1).cpu().numpy()
        return nats / math.log(2)


def through_codes(
    encode: Callable[[np.ndarray], Tensor],
    decode: Callable[[Tensor], np.ndarray],
    clips: Clips,
    config: TokenizerConfig,
    on_clip: Callable[[int], None],
) -> Coding:
    """Return what `encode`, uint8 (b t H W 3) -> codes (b t h w), and `decode` make of clips."""
    rebuilt, counts = [], np.zeros(config.codebook_size)
    for done, frames in enumerate(clips.frames, 1):
        codes = encode(frames[None])
        counts += np.bincount(codes.cpu().numpy().ravel(), minlength=len(counts))
        rebuilt.append(decode(codes)[0])
        on_clip(done)
    frames = np.stack(rebuilt)
    return Coding(reconstruction=frames, sampled=frames, bits=uniform_bits(config), usage=code_usage(counts, config))


def alone(model: Tokenizer | VAE, clips: Clips, *, seed: int, on_clip: Callable[[int], None]) -> Coding:
    """Return what a model makes of clips, with what else is asked of one without a dynamics.

    The rows, (b t): `psnr_sample` of a draw from the posterior in place of its mean, `psnr_other` given the latents of
    another clip's frame, `psnr_prior` given latents drawn from the prior, and in bits a pixel value `latents`,
    KL(q || prior), and `pixels`, -log p(x | z). Their sum is -ELBO.
    """
    coder = Codes(model) if isinstance(model, Tokenizer) else Gaussians(model)
    generator = torch.Generator().manual_seed(seed)
    other = coder.encode(clips.frames[-1], generator)
    rebuilt: list[np.ndarray] = []
    drawn: list[np.ndarray] = []
    rows: dict[str, list[np.ndarray]] = {}
    for done, frames in enumerate(clips.frames, 1):
        own = coder.encode(frames, generator)
        coder.count(own)
        rebuilt.append(_decode(model, own.point))
        sampled = rebuilt[-1] if own.sampled is own.point else _decode(model, own.sampled)
        drawn.append(sampled)
        found = {
            "psnr_sample": psnr(sampled, frames),
            "psnr_other": psnr(_decode(model, other.point), frames),
            "psnr_prior": psnr(_decode(model, coder.draw(len(frames), generator)), frames),
            "latents": own.bits / frames[0].size,
            "pixels": _pixel_bits(model, sampled, frames),
        }
        for name, values in found.items():
            rows.setdefault(name, []).append(values)
        other = own
        on_clip(done)
    stacked = {name: np.stack(values) for name, values in rows.items()}
    bits = float(stacked["latents"].mean()) * clips.frames[0, 0].size
    return Coding(
        reconstruction=np.stack(rebuilt), sampled=np.stack(drawn), bits=bits, usage=coder.usage(), rows=stacked
    )


def facts(coding: Coding, nearness: np.ndarray, moving: np.ndarray, rng: np.random.Generator) -> Answer:
    """Return what the rows of `alone` say, beside the PSNR (b t) of the reconstruction: bits/dim, and what latents do.

    The dependence on the latents is what posterior collapse takes away (van den Oord et al. 2017, sec. 1): a decoder
    that ignores them draws no worse a picture from another frame's.
    """
    rows = {name: values.mean(1) for name, values in coding.rows.items()}
    own = nearness.mean(1)
    bits = {"bound": rows["latents"] + rows["pixels"], "latents": rows["latents"], "pixels": rows["pixels"]}
    psnrs = {
        "own latents": bootstrap(own, rng),
        "another clip's latents": bootstrap(rows["psnr_other"], rng),
        "latents of the prior": bootstrap(rows["psnr_prior"], rng),
        "lost with another clip's latents": paired(own, rows["psnr_other"], rng),
    }
    return Answer(
        scalars=all_and_moving("psnr_sample", rows["psnr_sample"], moving, rng),
        tables={
            "bits_per_dim": Table(
                "bits a pixel value", ("bits",), {name: (bootstrap(values, rng),) for name, values in bits.items()}
            ),
            "dependence_on_latents": Table(
                "dependence on the latents, dB", ("psnr",), {name: (value,) for name, value in psnrs.items()}
            ),
        },
    )


def per_clip(coding: Coding) -> dict[str, np.ndarray]:
    """Return of the rows of `alone` those that paired comparisons need, (b t)."""
    rows = coding.rows
    return {"psnr_sample": rows["psnr_sample"], "bits_per_dim": rows["latents"] + rows["pixels"]} if rows else {}


class Codes:
    """The codes of a VQ-VAE: a one-hot posterior and a uniform prior."""

    def __init__(self, model: Tokenizer) -> None:
        self.model, self.counts = model, np.zeros(model.config.codebook_size)

    def encode(self, frames: np.ndarray, generator: torch.Generator) -> Encoded:
        """Return the codes of uint8 (t H W 3)."""
        codes = self.model.encode(frames[None])[0]
        kl = torch.full(codes.shape, math.log(self.model.config.codebook_size), dtype=torch.float64)
        return Encoded(codes, codes, kl)

    def draw(self, number: int, generator: torch.Generator) -> Tensor:
        """Return the codes of so many frames from the prior."""
        config = self.model.config
        shape = (number, config.code_grid, config.code_grid)
        return torch.randint(config.codebook_size, shape, generator=generator).to(self.model.device)

    def count(self, encoded: Encoded) -> None:
        """Take a clip into the usage."""
        self.counts += np.bincount(encoded.point.cpu().numpy().ravel(), minlength=len(self.counts))

    def usage(self) -> dict[str, float]:
        """Return how the codebook was used."""
        return code_usage(self.counts, self.model.config)


class Gaussians:
    """The latents of a VAE. A unit is one of them; a channel is the same one at every place of the grid."""

    def __init__(self, model: VAE) -> None:
        self.model, self.frames = model, 0
        config = model.config
        self.shape = (config.latent_dim, config.latent_grid, config.latent_grid)
        self.sums, self.squares, self.kl = (torch.zeros(self.shape, dtype=torch.float64) for _ in range(3))

    def encode(self, frames: np.ndarray, generator: torch.Generator) -> Encoded:
        """Return mean and sample of the posterior of uint8 (t H W 3)."""
        posterior = self.model.posteriors(frames[None])
        return Encoded(posterior.mean, posterior.sample(generator=generator), posterior.kl())

    def draw(self, number: int, generator: torch.Generator) -> Tensor:
        """Return the latents of so many frames from the prior."""
        return torch.randn(number, *self.shape, generator=generator).to(self.model.device)

    def count(self, encoded: Encoded) -> None:
        """Take a clip into the usage."""
        means = encoded.point.double().cpu()
        self.frames += len(means)
        self.sums += means.sum(0)
        self.squares += means.square().sum(0)
        self.kl += encoded.kl.double().sum(0).cpu()

    def usage(self) -> dict[str, float]:
        """Return how many units are active (Burda et al. 2016, sec. 5.2), and how the KL is spread over them."""
        variance = self.squares / self.frames - (self.sums / self.frames).square()
        units = variance > ACTIVE_VARIANCE
        channels = variance.mean((1, 2)) > ACTIVE_VARIANCE
        bits = (self.kl / self.frames / math.log(2)).flatten().sort(descending=True).values
        share = bits.cumsum(0) / bits.sum()
        return {
            "units": units.numel(),
            "active_units": int(units.sum()),
            "inactive_share": 1 - float(units.double().mean()),
            "channels": len(channels),
            "active_channels": int(channels.sum()),
            "bits_per_frame/kl": float(bits.sum()),
            **{f"kl_bits_a_unit/percentile_{percent}": float(bits.quantile(percent / 100)) for percent in PERCENTILES},
            "kl_bits_a_unit/silent_share": float((bits < SILENT_BITS).double().mean()),
            "kl_bits_a_unit/share_of_units_with_most_of_it": float((share < MOST).sum() + 1) / len(bits),
        }


def code_usage(counts: np.ndarray, config: TokenizerConfig) -> dict[str, float]:
    """Return how a codebook is used, from how often each of its codes appears (k), and what that makes a frame cost."""
    used = usage(counts)
    by_frequency = config.num_codes * math.log2(used["perplexity"])
    return {**used, "bits_per_frame/uniform": uniform_bits(config), "bits_per_frame/by_frequency": by_frequency}


def usage(counts: np.ndarray) -> dict[str, float]:
    """Return how a codebook is used, from how often each of its codes appears (k)."""
    shares = counts / counts.sum()
    some = shares[shares > 0]
    return {
        "codebook_size": len(counts),
        "codes_used": len(some),
        "perplexity": float(np.exp(-(some * np.log(some)).sum())),
        "commonest_code": float(shares.max()),
    }


def uniform_bits(config: TokenizerConfig) -> float:
    """Return the bits of a frame's codes where every code is as likely as any other."""
    return config.num_codes * math.log2(config.codebook_size)


def _decode(model: Tokenizer | VAE, latents: Tensor) -> np.ndarray:
    """Return the frames uint8 (t H W 3) of a clip's latents."""
    with torch.inference_mode(), autocast(model.device):
        return model.decode(latents[None])[0]


def _pixel_bits(model: Tokenizer | VAE, decoded: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Return -log p(x | z) in bits a pixel value of each frame: uint8 (t H W 3) twice -> (t)."""
    squares = np.square(decoded.astype(np.float32) - frames).mean((1, 2, 3), dtype=np.float64)
    nats: np.ndarray = model.nll(torch.from_numpy(squares).to(model.device)).detach().cpu().numpy()
    return nats / math.log(2)
