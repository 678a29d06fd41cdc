"""The one training loop, for the tokenizer and the dynamics alike.

A step's batch and noise depend on (seed, step, process) alone, so a resumed run needs no generator states: it continues
with exactly the batches that the uninterrupted run would have seen.
"""

from __future__ import annotations

import math
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import accelerate
import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoints.checkpoint import INDEX
from ..config import TrainingConfig, to_dict
from ..runtime import default_device, keep_freed_memory, limit_threads, use_bfloat16
from ..types import Report
from .log import Log
from .optimizer import averaged, make_optimizers, rate_factor, set_rate
from .state import has_state, load_state, save_state
from .stopping import Stopped, stop_signals
from .throughput import frames_ceiling

# What a resumed run need not share with the run it continues: its length, its cadence, and how fast it learns.
FREE = frozenset(
    {"steps", "minutes", "log_every_steps", "save_every_minutes", "sample_every_minutes", "compile"}
    | {"learning_rate", "muon_learning_rate"}
)


class Stage(Protocol):
    """What the tokenizer's and the dynamics' training bring to the loop. `model(...)` returns losses with a `total`."""

    @property
    def model(self) -> nn.Module:
        """Return the model to train."""

    def identity(self) -> dict[str, Any]:
        """Return what must not change when a run is resumed: configs, and JSON-ready values."""

    def begin(self, *, signals: Sequence[int], visible: bool) -> None:
        """Do what comes once before the first step of a new run: the same in every process.

        Raises:
            Stopped: if a signal comes before it is done.
        """

    def losses(
        self, model: nn.Module, rng: np.random.Generator, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        """Draw a batch with `rng` and return its losses: `total` is minimised, the rest is logged."""

    def evaluate(self, model: nn.Module, report: Report) -> dict[str, float]:
        """Return held-out numbers, telling `report` on the way."""

    def sheet(self, model: nn.Module, path: Path) -> None:
        """Draw what the model does now."""

    def save(self, model: nn.Module, out: Path, metrics: dict[str, Any]) -> None:
        """Write the checkpoint that users load."""


@dataclass
class Progress:
    """Where a run is; saved with its state."""

    step: int = 0
    seconds: float = 0.0
    frames: int = 0
    metrics: dict[str, float] = field(default_factory=dict)


class Interrupted(Exception):  # noqa: N818 - not an error
    """A signal asked the run to stop. Its state is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class DivergedError(RuntimeError):
    """The loss, a gradient or a weight is not finite."""


def train(stage: Stage, config: TrainingConfig, out: Path, *, resume: bool = False) -> Progress:
    """Train `stage` until `config` says enough, saving the state and the averaged model in `out`.

    Raises:
        ValueError: if `out` holds a run and `resume` is False, or it is another run's.
        DivergedError: if the loss, a gradient or a weight is not finite; the last saved checkpoint is intact.
        Interrupted: on SIGINT or SIGTERM, after saving.
    """
    limit_threads()
    keep_freed_memory()
    if not resume and has_state(out):
        raise ValueError(f"{out} already holds a training run; add --resume to continue it or choose another --out")
    resume = resume and _has_saved(out)
    with stop_signals() as signals, warnings.catch_warnings():
        # 1x1 weights have two memory layouts at once; DistributedDataParallel sees another one than the gradients do.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        return _Run(stage, config, out, resume, signals).run()


def _has_saved(out: Path) -> bool:
    """Whether there is a state to resume; where a run was stopped before its first save, say that it begins again.

    Raises:
        ValueError: if `out` holds a finished checkpoint without its run: a new run would replace it.
    """
    if has_state(out):
        return True
    if (out / INDEX).exists():
        raise ValueError(f"{out} holds a checkpoint without its training state; leave out --resume to replace it")
    if accelerate.PartialState(cpu=default_device().type == "cpu").is_main_process:
        print(f"nothing is saved in {out} yet: the run begins at its first step", file=sys.stderr)
    return False


class _Run:
    def __init__(self, stage: Stage, config: TrainingConfig, out: Path, resume: bool, signals: list[int]) -> None:
        self.stage, self.config, self.out, self.signals = stage, config, out, signals
        precision = "bf16" if use_bfloat16(config.precision, default_device()) else "no"
        self.accelerator = accelerate.Accelerator(
            mixed_precision=precision, cpu=default_device().type == "cpu", log_with=None
        )
        self.device = self.accelerator.device
        self.rank = self.accelerator.process_index
        self.main = self.accelerator.is_main_process
        stage.model.to(self.device)
        if not resume:
            stage.begin(signals=signals, visible=self.main)
        self.mean = averaged(stage.model, config.ema_decay)
        self.optimizers = make_optimizers(stage.model, config)
        self.identity = {**stage.identity(), "training": config, "processes": self.accelerator.num_processes}
        self.progress = Progress()
        if resume:
            saved = load_state(out, stage.model, self.mean, self.optimizers, config=self.identity, free=FREE)
            self.progress = Progress(**saved)
        self.model = self.accelerator.prepare_model(stage.model)
        if config.compile:
            self.model = torch.compile(self.model)
        ceiling = frames_ceiling(stage.model, config, processes=self.accelerator.num_processes)
        self.log = Log(out, self.progress.step, visible=self.main, ceiling=ceiling)

    def run(self) -> Progress:
        started = time.monotonic() - self.progress.seconds
        saved = sampled = self.progress.seconds
        with self.log:
            while True:
                number = self._agree(started)
                if self._finished():
                    break
                if number:
                    self._save()
                    self.accelerator.wait_for_everyone()
                    raise Interrupted(number)
                self._step()
                now = self.progress.seconds = time.monotonic() - started
                if now - sampled >= 60 * self.config.sample_every_minutes:
                    self._sample()
                    sampled = now
                if now - saved >= 60 * self.config.save_every_minutes:
                    self._save()
                    saved = now
            self._sample()
            self._save()
            number = self._agree(started)  # a signal that came while the finished run was asked or saved
        self.accelerator.wait_for_everyone()  # no process leaves while another still needs it
        if number:  # nothing more is to be begun
            raise Interrupted(number)
        return self.progress

    def _finished(self) -> bool:
        return self._share() >= 1

    def _share(self) -> float:
        by_time = self.progress.seconds / (60 * self.config.minutes)
        return max(self.progress.step / self.config.steps, by_time)

    def _agree(self, started: float) -> int:
        """Make all processes see the same clock and the same stop signal; return the signal, or 0.

        Whatever decides how a run goes on is asked after this: processes that each looked at their own clock would end
        at different steps, and one would wait for ever for the other's gradients.
        """
        number = self.signals[-1] if self.signals else 0
        if self.accelerator.num_processes == 1:
            self.progress.seconds = time.monotonic() - started
            return number
        own = torch.tensor([number, time.monotonic() - started if self.main else 0.0], device=self.device)
        torch.distributed.all_reduce(own, torch.distributed.ReduceOp.MAX)
        self.progress.seconds = float(own[1])
        return int(own[0])

    def _step(self) -> None:
        step, share = self.progress.step, self._share()
        self.model.train()
        rng = np.random.default_rng([self.config.seed, step, self.rank])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        factor = rate_factor(step, share, self.config)
        set_rate(self.optimizers, factor)
        with self.accelerator.autocast():
            losses = self.stage.losses(self.model, rng, generator, share)
        self.accelerator.backward(losses["total"])
        norm = nn.utils.clip_grad_norm_(self.stage.model.parameters(), self.config.gradient_clip)
        row = {name: float(value.detach()) for name, value in losses.items()} | {"gradient_norm": float(norm)}
        if not math.isfinite(row["total"]) or not math.isfinite(row["gradient_norm"]):
            raise DivergedError(
                f"the loss is not finite at step {step} (loss {row['total']}, gradient {row['gradient_norm']}); "
                + self._remedy()
            )
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.mean.update_parameters(self.stage.model)
        self.progress.step += 1
        self.progress.frames += self.config.batch * self.config.clip * self.accelerator.num_processes
        row["rate"] = factor
        self.log.step(self.progress.step, row, frames=self.progress.frames, seconds=self.progress.seconds,
                      every=self.config.log_every_steps, share=share)  # fmt: skip

    def _sample(self) -> None:
        """Ask about what is held out; a signal ends that, and the run saves and stops where it would have gone on."""
        self._require_finite()
        if not self.main:
            return
        model = self.mean.module.eval()
        try:
            with torch.no_grad(), self.accelerator.autocast():
                self.progress.metrics = self.stage.evaluate(model, self._asking)
                self.stage.sheet(model, self.out / "sheet.png")
        except Stopped:
            return
        self.log.evaluation(self.progress.step, self.progress.metrics)

    def _asking(self, done: int, total: int) -> None:
        if self.signals:
            raise Stopped(self.signals[-1])
        self.log.asking(done, total)

    def _require_finite(self) -> None:
        """Look at all that would be saved: weights can break in the optimizer's step, after the gradients were good."""
        parts = {"weights": self.stage.model, "averaged weights": self.mean.module}
        tensors = [(f"{part} {name}", tensor) for part in parts for name, tensor in parts[part].state_dict().items()]
        states = [state for optimizer in self.optimizers for state in optimizer.state.values()]
        tensors += [(f"statistics {name}", value) for state in states for name, value in state.items()]
        for name, tensor in tensors:
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise DivergedError(f"the {name} are not finite after step {self.progress.step}; {self._remedy()}")

    def _remedy(self) -> str:
        """Return what to do about a run that diverged."""
        if has_state(self.out):
            return f"the last good state is in {self.out}: repeat with --resume --set learning_rate=... (a lower one)"
        return "nothing was saved yet: repeat with --set learning_rate=... (a lower one)"

    def _save(self) -> None:
        self._require_finite()
        if not self.main:
            return
        training = {"init": _name(self.config.init), "processes": self.accelerator.num_processes}
        metrics = {
            "step": self.progress.step,
            "frames": self.progress.frames,
            "minutes": round(self.progress.seconds / 60, 2),
            "held_out": self.progress.metrics,
            "training": to_dict(self.config) | training,
        }
        self.stage.save(self.mean.module, self.out, metrics)
        save_state(
            self.out, self.stage.model, self.mean, self.optimizers, config=self.identity, progress=vars(self.progress)
        )


def _name(directory: str) -> str:
    """Return a directory's own name: a checkpoint says what it started from, not whose disk that lay on."""
    return Path(directory).name if directory else ""
