"""Exactness: whatever draws the codes, it draws what one full uncached pass for each code would."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.models import expecting, tiny_dynamics, tiny_tokenizer
from worldmodel.dynamics.features import Features
from worldmodel.dynamics.model import Dynamics
from worldmodel.dynamics.numpy_decoder import NumpyDecoder
from worldmodel.dynamics.order import NAMES
from worldmodel.dynamics.samplers import NumpySampler, TorchSampler, make_sampler
from worldmodel.dynamics.sampling import gumbel_noise, sample
from worldmodel.simulator import Simulator

ENGINES = {"torch": lambda dynamics: TorchSampler(dynamics, precision="float32"), "numpy": NumpySampler}
FRAMES = 9  # three times the window of 3
CODES = torch.randint(16, (3, FRAMES, 8, 8), generator=torch.Generator().manual_seed(5))
ACTIONS = torch.randint(-1, 4, (3, FRAMES), generator=torch.Generator().manual_seed(6))


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return gumbel_noise(shape, torch.Generator().manual_seed(seed))


def reference(dynamics: Dynamics, features: Features, noise: torch.Tensor, **settings: float) -> torch.Tensor:
    """Sample a frame with no cache at all: one full pass of the decoder for each code of each wave."""
    b, n, _ = features.context.shape
    bias = dynamics.logit_bias(features.expectation)
    codes = torch.zeros(b, n, dynamics.config.codes_per_patch, dtype=torch.int64)
    for wave in range(dynamics.order.num_waves):
        positions = torch.from_numpy((dynamics.order.waves == wave).nonzero()[0])
        for j in range(dynamics.config.codes_per_patch):
            logits = dynamics.decoder(features.context, features.flow, dynamics.vectors(codes))[:, positions, j]
            if bias is not None:
                logits = logits + bias[:, positions, j]
            codes[:, positions, j] = sample(logits, noise[:, positions, j], **settings)  # type: ignore[arg-type]
    return dynamics.from_patches(codes)


@pytest.mark.parametrize("outside", ["none", "fake"])
@pytest.mark.parametrize("order", NAMES)
@pytest.mark.parametrize("engine", ENGINES)
@torch.no_grad()
def test_a_frame_is_exact(engine: str, order: str, outside: str) -> None:
    """Codes equal the uncached reference's with the same noise, in a batch and alone, at every setting."""
    dynamics = tiny_dynamics(order=order, decoder_layers=2, expectation=outside != "none")
    model = expecting(outside, dynamics)
    expectation = None if model is None else model.follow(CODES, ACTIONS)
    features = dynamics.features(CODES, ACTIONS, expectation=expectation)[:, -1]
    sampler = ENGINES[engine](dynamics)
    for seed, (temperature, top_k) in enumerate([(1.0, 0), (0.0, 0), (0.7, 3), (1.3, 16)]):
        draws = noise(3, 16, 4, 16, seed=seed)
        expected = reference(dynamics, features, draws, temperature=temperature, top_k=top_k)
        settings = {"temperature": temperature, "top_k": top_k}
        assert torch.equal(sampler.sample(features, draws, **settings), expected)
        assert torch.equal(sampler.sample(features[1:2], draws[1:2], **settings), expected[1:2])
        assert len(expected.unique()) > 4


@pytest.mark.parametrize(
    ("outside", "order"),
    [*itertools.product(("none", "fake"), NAMES), pytest.param("map", "diagonal", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("engine", ENGINES)
@torch.no_grad()
def test_a_long_future_is_exact(engine: str, order: str, outside: str) -> None:
    """Step after step past the window's edge, codes equal those of uncached passes over the whole past.

    The simulator is the one that ships: what it does with a context and with its own frames is all that is compared.
    """
    dynamics = tiny_dynamics(order=order, expectation=outside != "none")
    simulator = Simulator(tiny_tokenizer(), dynamics, expecting(outside, dynamics), precision="float32", engine=engine)
    simulator.reset_codes(CODES[:, :2], ACTIONS[:, :1])
    simulator.seed(3)
    generator = torch.Generator().manual_seed(3)
    past = CODES[:, :2]
    for t in range(1, FRAMES - 1):
        features = simulator.features(past, ACTIONS[:, : t + 1], num_real=2)[:, -1]
        expected = reference(dynamics, features, gumbel_noise((3, 16, 4, 16), generator))
        assert torch.equal(simulator.step(ACTIONS[:, t]), expected)
        past = torch.cat([past, expected[:, None]], dim=1)


@torch.no_grad()
def test_bfloat16_stays_near_single_precision() -> None:
    """Logits computed in bfloat16 differ from those in single precision by less than 3% of their spread."""
    dynamics = tiny_dynamics(context_layers=3)
    patches = dynamics.to_patches(CODES[:, 1:2])[:, 0]
    logits = []
    for precision in ("float32", "bfloat16"):
        frozen = dynamics.frozen(precision=precision)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            features = frozen.features(CODES, ACTIONS)[:, -1]
            logits.append(frozen.decoder(features.context, features.flow, frozen.vectors(patches)).float())
    single, half = logits
    assert not torch.equal(single, half)
    assert (single - half).abs().mean() < 0.03 * single.std()


def test_the_numpy_decoder_keeps_its_weights() -> None:
    """The engine is a snapshot: changing the model afterwards changes nothing that it draws."""
    dynamics = tiny_dynamics()
    features = Features(torch.randn(1, 16, 32), torch.randn(1, 16, dynamics.config.flow_features))
    draws = noise(1, 16, 4, 16)
    decoder = NumpyDecoder(dynamics.decoder, dynamics.code_vectors)
    before = decoder.sample(features, draws)
    with torch.no_grad():
        for parameter in dynamics.parameters():
            parameter.mul_(-3)
    assert torch.equal(decoder.sample(features, draws), before)


def test_engines_are_chosen_by_device_and_by_name() -> None:
    """On a CPU "auto" is NumPy; an unknown engine is refused with the known ones."""
    dynamics = tiny_dynamics()
    assert isinstance(make_sampler(dynamics), NumpySampler)
    assert isinstance(make_sampler(dynamics, "torch"), TorchSampler)
    with pytest.raises(ValueError, match="auto, torch, numpy"):
        make_sampler(dynamics, "jax")
