"""Optimizers: which one trains which weights, the learning-rate schedule, and the averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn, optim
from torch.optim.swa_utils import AveragedModel

from ..config import TrainingConfig
from ..runtime import bfloat16_is_fast

EPSILON = 1e-12  # the gradient of a grid's point is small, and is not to be lost


NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024: coefficients of the iteration,
ITERATIONS = 5  # and how many
RMS = 0.2  # of an update's entries, about that of AdamW's (Liu et al. 2025, sec. 2.2)


class Muon(optim.Optimizer):
    """Momentum whose update of each matrix is orthogonalised (Jordan et al. 2024), with decoupled weight decay.

    torch's own always multiplies in bfloat16: on a CPU without it in hardware a step takes twenty times as long.

    Args:
        params: matrices alone.
        lr: the learning rate; updates are scaled to the size of AdamW's, so that it can have the same.
        weight_decay: of the weights, times the learning rate.
        momentum: Nesterov's.

    Raises:
        ValueError: if a parameter is no matrix.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], *, lr: float, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim != 2:
                    raise ValueError(f"Muon trains matrices, got a parameter of shape {tuple(parameter.shape)}")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every matrix that has a gradient once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group["lr"], group["weight_decay"], group["momentum"])
        return loss

    def _move(self, weight: Tensor, lr: float, weight_decay: float, momentum: float) -> None:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight.grad)  # type: ignore[arg-type]
        mean: Tensor = state["momentum_buffer"]
        mean.lerp_(weight.grad, 1 - momentum)  # type: ignore[arg-type]
        update = orthogonalised(weight.grad.lerp(mean, momentum))  # type: ignore[union-attr]
        weight.mul_(1 - lr * weight_decay)
        weight.add_(update, alpha=-lr * RMS * math.sqrt(max(weight.shape)))


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return a matrix (n m) with its singular values near 1, by Newton-Schulz iterations (Jordan et al. 2024).

    The products are in bfloat16 where the hardware has it, else in single precision.
    """
    a, b, c = NEWTON_SCHULZ
    wide = matrix.bfloat16() if bfloat16_is_fast(matrix.device.type) else matrix.float()
    wide = wide.T if matrix.shape[0] > matrix.shape[1] else wide
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        square = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(square, square, square, beta=b, alpha=c), wide, beta=a)
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide


def prepare(model: nn.Module, config: TrainingConfig, start: dict[str, Tensor]) -> set[str]:
    """Give `model` what it starts from, freeze the weights that are not to be trained, return the names it was given.

    Raises:
        ValueError: if nothing of `start` fits, or no weight is left to train.
    """
    state = model.state_dict()
    fitting = [
        name
        for name, tensor in state.items()
        if name in start and name.startswith(config.init_only) and start[name].shape == tensor.shape
    ]
    if config.init and not fitting:
        raise ValueError(f"no weight of {config.init} fits this model; check init, init_only and the model's sizes")
    for name in fitting:
        state[name].copy_(start[name])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and name.startswith(config.trained))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"no weight's name begins with {config.trained!r}; names begin with {_roots(state)}")
    return set(fitting)


def _roots(names: Iterable[str]) -> str:
    return ", ".join(sorted({name.split(".")[0] for name in names}))


def make_optimizers(model: nn.Module, config: TrainingConfig) -> list[optim.Optimizer]:
    """Return AdamW for everything, or Muon for the hidden matrices and AdamW for the rest.

    Muon (Jordan et al. 2024) orthogonalises the update of a matrix; it is not meant for embeddings, norms and output
    tables, which carry `is_table` or are not matrices.
    """
    adamw: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    muon: list[nn.Parameter] = []
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if config.muon_learning_rate > 0 and parameter.ndim == 2 and not getattr(parameter, "is_table", False):
            muon.append(parameter)
        else:
            (decayed if parameter.ndim >= 2 else adamw).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": adamw, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimizers: list[optim.Optimizer] = []
    if groups:
        optimizers.append(optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), eps=EPSILON, fused=True))
    if muon:
        optimizers.append(Muon(muon, lr=config.muon_learning_rate, weight_decay=config.weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def rate_factor(step: int, progress: float, config: TrainingConfig) -> float:
    """Return the share of the peak learning rate: warm up, stay, fall linearly to zero over the last part of the run.

    `progress` is the share of the run that is done, by steps or by minutes.
    """
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.cooldown <= 0:
        return warm
    return warm * min(1.0, max(0.0, (1.0 - progress) / config.cooldown))


def set_rate(optimizers: list[optim.Optimizer], factor: float) -> None:
    """Set every group's learning rate to `factor` of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """Return a copy of `model` whose weights will follow it as an exponential mean, quickly at first."""

    def lerp(mean: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        rate = max(1 - decay, 9 / (10 + float(count)))
        torch._foreach_lerp_(mean, current, rate)

    return AveragedModel(model, multi_avg_fn=lerp)  # type: ignore[arg-type]
