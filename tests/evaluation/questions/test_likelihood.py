"""Likelihood in three regimes: bounds that must hold for any model, and what a hand can compute."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worlds import record_toy, tiny_simulator
from worldmodel.evaluation.answers import from_json, to_json
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
    clips = one.clips(likelihood.STEPS, number=int(numbers.scalars["clips"].number))
    codes = one.simulator.tokenizer.encode(clips.frames)
    for name, actions in (("right", clips.actions), ("none", np.full_like(clips.actions, -1))):
        losses = one.simulator.dynamics.loss(codes, torch.from_numpy(actions), generator=torch.Generator())
        assert numbers.tables["fully_teacher_forced"]["model", name].value == pytest.approx(losses.nll.item(), rel=1e-4)
        assert np.mean(numbers.clips[f"model/{name}"]) == pytest.approx(losses.nll.item(), rel=1e-3)


def test_figures_agree_with_one_another(subject: Subject) -> None:
    """Bits a frame are nats a code times the codes, and the priors differ by the same bits over the pixel values."""
    done: list[int] = []
    numbers = likelihood.measure(subject, lambda now, total: done.append(now))
    assert done[-1] == numbers.scalars["clips"].value == 6
    bits, dims = numbers.tables["bits_per_frame"], numbers.tables["bits_per_dim"]
    assert bits["model", "uniform"].value == 256
    right = numbers.tables["fully_teacher_forced"]["model", "right"].number
    assert bits["model", "right"].value == pytest.approx(64 * right / math.log(2))
    saved = dims["uniform_prior", "bits"].number - dims["model", "bits"].number
    assert saved == pytest.approx((256 - bits["model", "right"].number) / (32 * 32 * 3))
    # The first step's past is real whatever follows.
    rows = numbers.series["autoregressive"].rows
    first = [rows[name].mean[0] for name in ("real given real past", "real given imagined past")]
    assert first[0] == pytest.approx(first[1], rel=1e-4)
    assert from_json(to_json(numbers)).series.keys() == numbers.series.keys()


def test_a_model_that_knows_nothing(subject: Subject) -> None:
    """All codes alike: log k nats in every regime, a quarter byte a code here, and no action matters."""
    dynamics = subject.simulator.dynamics
    with torch.no_grad():
        dynamics.decoder.head.table.zero_()
        dynamics.decoder.head.bias.zero_()
        dynamics.code_appearance.zero_()  # nor does one code look nearer to what is expected
    simulator = Simulator(subject.simulator.tokenizer, dynamics, precision="float32")
    blank = Subject(simulator=simulator, dataset=subject.dataset, num_clips=12, context=2)
    numbers = likelihood.measure(blank, lambda done, total: None)
    for regime in ("fully_teacher_forced", "temporally_teacher_forced"):
        table = numbers.tables[regime]
        for name in table.columns:
            expected = 0 if name == "real above own" else math.log(16)
            assert table["model", name].value == pytest.approx(expected, abs=1e-5)
    own = numbers.series["autoregressive"].rows["own given imagined past"]
    assert own.mean == pytest.approx([math.log(16)] * 10)
    assert all(abs(cell.number) < 1e-6 for cell in numbers.tables["cost_of_actions"].rows["model"])


def test_pixel_bits_by_hand() -> None:
    """At an error of one deviation a Gaussian of deviation 2 takes log2(2) + log2(2 pi e) / 2 bits."""
    expected = 1 + 0.5 * math.log2(2 * math.pi * math.e)
    assert likelihood.pixel_bits(np.array([4.0]), 2.0)[0] == pytest.approx(expected)
