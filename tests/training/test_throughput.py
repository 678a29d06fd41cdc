"""How fast training could be and where a step's time goes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.models import tiny_dynamics, tiny_tokenizer
from worldmodel.benchmark.roofline import count_flops
from worldmodel.config import TrainingConfig
from worldmodel.dynamics.model import Dynamics
from worldmodel.tokenizer.model import Tokenizer
from worldmodel.training import throughput

CONFIG = TrainingConfig(batch=2, clip=4, learning_rate=1e-2, warmup_steps=0)
MODELS = pytest.mark.parametrize(
    "model",
    [tiny_dynamics(), tiny_dynamics(expectation=True), tiny_tokenizer()],
    ids=["dynamics", "expecting", "tokenizer"],
)


@MODELS
def test_flops_are_those_of_a_real_step(model: Dynamics | Tokenizer) -> None:
    """What is counted without computing is what a real step on a batch of clips counts, frame for frame."""
    clips = throughput.random_clips(model, 2, 4, generator=torch.Generator())
    real = count_flops(lambda: copy.deepcopy(model).train()(**clips).total.backward())
    assert throughput.frame_flops(model, 4) == pytest.approx(real / (2 * 4))


def test_flops_of_the_tokenizer_by_hand() -> None:
    """Frames are independent of one another, and each contains at least the decoder's first layer, three times."""
    model = tiny_tokenizer()
    assert throughput.frame_flops(model, 1) == throughput.frame_flops(model, 7)
    first, grid = model.decoder[0], model.config.code_grid
    assert isinstance(first, nn.Conv2d)
    assert throughput.frame_flops(model, 1) > 3 * 2 * first.weight.numel() * grid**2


@MODELS
def test_counting_leaves_the_model_alone(model: Dynamics | Tokenizer) -> None:
    """A run goes on bit for bit as if nobody had counted: weights, buffers, gradients, mode and generators are kept."""
    before = copy.deepcopy(model.state_dict())
    state, mode = torch.get_rng_state(), model.training
    throughput.frame_flops(model, 4)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training == mode


def test_ceiling_is_the_machine_over_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames/s at best: the ceiling of each process over the FLOPs of a frame; unknown for another model."""
    model = tiny_dynamics()
    monkeypatch.setattr(throughput, "product_speed", lambda dtype, device: 1e12)
    one = throughput.frames_ceiling(model, CONFIG)
    assert one == 1e12 / throughput.frame_flops(model, CONFIG.clip)
    assert throughput.frames_ceiling(model, CONFIG, processes=3) == pytest.approx(3 * one)
    assert throughput.frames_ceiling(nn.Linear(2, 2), CONFIG) is None


@MODELS
def test_steps_train(model: Dynamics | Tokenizer) -> None:
    """A timed step is a real one: every part takes time, and the weights move."""
    model = copy.deepcopy(model)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    seconds = throughput.Steps(model, CONFIG).step()
    assert list(seconds) == list(throughput.PARTS)
    assert min(seconds.values()) > 0
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
