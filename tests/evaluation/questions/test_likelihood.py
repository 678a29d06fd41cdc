"""Likelihood in three regimes: bounds that must hold for any model, and what a hand can compute."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worlds import record_toy, tiny_simulator
from worldmodel.evaluation.harness.subject import Subject
from worldmodel.evaluation.questions import likelihood
from worldmodel.rollouts import EpisodeDataset
from worldmodel.simulator import Simulator


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    dataset = EpisodeDataset(record_toy(tmp_path / "d"))
    return Subject(simulator=tiny_simulator(), dataset=dataset, num_clips=16, context=2)


def test_teacher_forced_numbers_are_the_models_loss(subject: Subject) -> None:
    """With a context of one frame, the mean over steps is the training loss on the same clips and actions."""
    one = Subject(simulator=subject.simulator, dataset=subject.dataset, num_clips=12, context=1)
    numbers = likelihood.measure(one, lambda done, total: None)
    clips = one.clips(likelihood.STEPS, number=numbers["clips"])
    codes = one.simulator.tokenizer.encode(clips.frames)
    for name, actions in (("right", clips.actions), ("none", np.full_like(clips.actions, -1))):
        losses = one.simulator.dynamics.loss(codes, torch.from_numpy(actions), generator=torch.Generator())
        assert numbers["fully_teacher_forced"][name]["mean"] == pytest.approx(losses.nll.item(), rel=1e-4)
        assert np.mean(numbers["per_clip"][name]) == pytest.approx(losses.nll.item(), rel=1e-3)


@pytest.mark.usefixtures("all_looks_alike")
def test_figures_agree_with_one_another(subject: Subject) -> None:
    """Bits a frame are nats a code times the codes, and the priors differ by the same bits over the pixel values."""
    done: list[int] = []
    numbers = likelihood.measure(subject, lambda now, total: done.append(now))
    assert done[-1] == numbers["clips"] == 6
    assert numbers["bits_per_frame"]["uniform"] == 256
    right = numbers["fully_teacher_forced"]["right"]["mean"]
    assert numbers["bits_per_frame"]["right"]["mean"] == pytest.approx(64 * right / math.log(2))
    dims = numbers["bits_per_dim"]
    saved = dims["uniform_prior"]["mean"] - dims["learned_prior"]["mean"]
    assert saved == pytest.approx((256 - numbers["bits_per_frame"]["right"]["mean"]) / (32 * 32 * 3))
    horizon = numbers["autoregressive"]
    assert np.mean(horizon["real_given_real_past"]["mean"]) == pytest.approx(right)
    # The first step's past is real in every regime.
    first = [horizon[name]["mean"][0] for name in ("real_given_real_past", "real_given_imagined_past")]
    assert first[0] == pytest.approx(first[1], rel=1e-4)
    json.dumps(numbers, allow_nan=False)


def test_a_model_that_knows_nothing(subject: Subject) -> None:
    """All codes alike: log k nats in every regime, a quarter byte a code here, and no action matters."""
    dynamics = subject.simulator.dynamics
    with torch.no_grad():
        dynamics.decoder.head.table.zero_()
        dynamics.decoder.head.bias.zero_()
        dynamics.appearances.zero_()  # nor does one code look nearer to what is expected
    simulator = Simulator(subject.simulator.tokenizer, dynamics, precision="float32")
    blank = Subject(simulator=simulator, dataset=subject.dataset, num_clips=12, context=2)
    numbers = likelihood.measure(blank, lambda done, total: None)
    for regime in ("fully_teacher_forced", "temporally_teacher_forced"):
        for name, interval in numbers[regime].items():
            expected = 0 if name == "real_above_own" else math.log(16)
            assert interval["mean"] == pytest.approx(expected, abs=1e-5)
    assert numbers["autoregressive"]["own_given_imagined_past"]["mean"] == pytest.approx([math.log(16)] * 10)
    assert all(abs(interval["mean"]) < 1e-6 for interval in numbers["cost_of_actions"].values())


def test_pixel_bits_by_hand() -> None:
    """At an error of one deviation a Gaussian of deviation 2 takes log2(2) + log2(2 pi e) / 2 bits."""
    expected = 1 + 0.5 * math.log2(2 * math.pi * math.e)
    assert likelihood.pixel_bits(np.array([4.0]), 2.0)[0] == pytest.approx(expected)
