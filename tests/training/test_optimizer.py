"""Optimizers, schedule, averaged weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.models import tiny_dynamics
from worldmodel.config import TrainingConfig
from worldmodel.training.optimizer import (
    Muon,
    averaged,
    make_optimizers,
    orthogonalised,
    prepare,
    rate_factor,
    set_rate,
)

CONFIG = TrainingConfig(batch=1, clip=2, learning_rate=1e-3, muon_learning_rate=5e-3, warmup_steps=10, cooldown=0.5)


def test_every_weight_is_trained_by_exactly_one_optimizer() -> None:
    """Muon gets hidden matrices only; tables, vectors and biases go to AdamW."""
    dynamics = tiny_dynamics()
    adamw, muon = make_optimizers(dynamics, CONFIG)
    in_adamw = [id(p) for group in adamw.param_groups for p in group["params"]]
    in_muon = [id(p) for group in muon.param_groups for p in group["params"]]
    everything = in_adamw + in_muon
    assert sorted(everything) == sorted(id(p) for p in dynamics.parameters())
    names = {id(p): name for name, p in dynamics.named_parameters()}
    assert {names[i] for i in in_adamw} >= {"context.actions", "decoder.head.table", "context.blocks.0.modulation"}
    assert all(p.ndim == 2 for group in muon.param_groups for p in group["params"])
    assert len(in_muon) > 10


def test_without_muon_adamw_trains_all() -> None:
    """A Muon rate of 0 leaves one optimizer; biases and norms are not decayed."""
    config = TrainingConfig(batch=1, clip=2, learning_rate=1e-3, weight_decay=0.1)
    (adamw,) = make_optimizers(nn.Linear(3, 2), config)
    assert [group["weight_decay"] for group in adamw.param_groups] == [0.1, 0.0]


def test_the_rate_warms_up_stays_and_falls_to_zero() -> None:
    """Linear up over the warm-up, flat, then linear down to zero over the last half of the run."""
    assert rate_factor(0, 0.0, CONFIG) == pytest.approx(0.1)
    assert rate_factor(9, 0.1, CONFIG) == 1
    assert rate_factor(100, 0.5, CONFIG) == 1
    assert rate_factor(100, 0.75, CONFIG) == pytest.approx(0.5)
    assert rate_factor(100, 1.0, CONFIG) == 0
    optimizers = make_optimizers(tiny_dynamics(), CONFIG)
    for factor in (0.5, 0.25):  # relative to the peak, not to the last rate
        set_rate(optimizers, factor)
        rates = {group["lr"] for optimizer in optimizers for group in optimizer.param_groups}
        assert rates == {1e-3 * factor, 5e-3 * factor}


def test_averaged_weights_follow_quickly_then_slowly() -> None:
    """The average copies the first weights, then moves by 9/(10+n), and by 1 - decay in the long run."""
    model = nn.Linear(1, 1, bias=False)
    mean = averaged(model, 0.99)
    expected = 0.0
    for n in range(2000):
        value = float(n % 7)
        model.weight.data.fill_(value)
        mean.update_parameters(model)
        expected = value if n == 0 else expected + (value - expected) * max(0.01, 9 / (10 + n))
        assert mean.module.weight.item() == pytest.approx(expected, abs=1e-3)


def test_buffers_are_copied_not_averaged() -> None:
    """Counters and codebook statistics of the averaged model are the model's own."""
    model = nn.BatchNorm1d(2)
    mean = averaged(model, 0.9)
    model.running_mean.fill_(5.0)
    mean.update_parameters(model)
    assert torch.equal(mean.module.running_mean, torch.full((2,), 5.0))


def test_a_run_starts_from_what_fits_and_trains_what_it_is_told() -> None:
    """Weights are taken where name, beginning and shape agree; the optimizers see only those that are to be trained."""
    start = dict(tiny_dynamics().state_dict())
    model = tiny_dynamics(order="raster")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    config = replace(CONFIG, init="somewhere", init_only="decoder.", trained="decoder.codes")
    prepare(model, config, start)
    state = model.state_dict()
    for name, parameter in model.named_parameters():
        fits = name.startswith("decoder.") and start[name].shape == parameter.shape
        assert torch.equal(state[name], start[name]) if fits else not parameter.any()
    assert not torch.equal(state["code_vectors"], torch.zeros_like(state["code_vectors"]))
    trained = [
        p for optimizer in make_optimizers(model, config) for group in optimizer.param_groups for p in group["params"]
    ]
    assert [id(p) for p in trained] == [id(model.decoder.codes.weight)]


@pytest.mark.parametrize("changes", [{"init": "x", "init_only": "decoder_"}, {"trained": "encoder"}])
def test_a_start_that_fits_nothing_is_refused(changes: dict[str, str]) -> None:
    """A beginning that no weight has is an error and not a silent run from scratch, or of nothing."""
    with pytest.raises(ValueError, match="no weight"):
        prepare(tiny_dynamics(), replace(CONFIG, **changes), dict(tiny_dynamics().state_dict()))


@pytest.mark.parametrize("shape", [(24, 60), (60, 24), (32, 32)])
@pytest.mark.parametrize("fast", [True, False])
def test_an_update_is_orthogonalised(shape: tuple[int, int], fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Singular values come near 1 and the singular vectors stay; in bfloat16 only where the hardware has it."""
    monkeypatch.setattr("worldmodel.training.optimizer.bfloat16_is_fast", lambda kind: fast)
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonalised(gradient)
    assert found.dtype == (torch.bfloat16 if fast else torch.float32)
    values = torch.linalg.svdvals(found.float())
    assert 0.3 < values.min() <= values.max() < 1.5
    u, _, v = torch.linalg.svd(gradient, full_matrices=False)
    turned = u.T @ found.float() @ v.T
    assert (turned - turned.diagonal().diag()).abs().max() < (0.1 if fast else 1e-3)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_muon_moves_a_matrix_as_torch_does(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Step by step, momentum and weight decay included, it is torch's own with its updates scaled like AdamW's."""
    monkeypatch.setattr("worldmodel.training.optimizer.bfloat16_is_fast", lambda kind: True)  # as torch always computes
    start = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    mine, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    ours = Muon([mine], lr=0.1, weight_decay=0.3)
    usual = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.3, adjust_lr_fn="match_rms_adamw")
    for seed in range(3):
        gradient = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        for weight, optimizer in ((mine, ours), (theirs, usual)):
            weight.grad = gradient.clone()
            optimizer.step()
        torch.testing.assert_close(mine, theirs)


def test_muon_takes_matrices_alone() -> None:
    """A vector is refused, with its shape."""
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)
