"""The training loop: resume, interruption, divergence, what a run leaves behind."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.data import tiny_tokenizer_stage, tiny_vae_stage
from tests.worlds import record_toy
from worldmodel.checkpoints.checkpoint import read
from worldmodel.checkpoints.index import read_index, write_index
from worldmodel.config import TrainingConfig
from worldmodel.training.loop import DivergedError, Interrupted, train
from worldmodel.training.tokenizer import TokenizerStage, VAEStage
from worldmodel.types import Report

CONFIG = TrainingConfig(
    batch=2, clip=1, learning_rate=3e-3, minutes=100.0, steps=12, warmup_steps=2, log_every_steps=1, cooldown=0.0
)


class Line:
    """A stage that fits a line: the smallest real model."""

    def __init__(
        self,
        *,
        fail_at: int | None = None,
        interrupt_at: int | None = None,
        break_at: int | None = None,
        interrupt_asking: bool = False,
    ) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = nn.Linear(3, 1)
        self.step = 0
        self.fail_at, self.interrupt_at, self.break_at = fail_at, interrupt_at, break_at
        self.interrupt_asking = interrupt_asking
        self.begun, self.interrupted_before = 0, False
        self.batches: list[Tensor] = []

    def identity(self) -> dict[str, Any]:
        return {"model": "line"}

    def begin(self, *, signals: Sequence[int], visible: bool) -> None:
        self.begun += 1
        if self.interrupted_before:
            raise KeyboardInterrupt

    def losses(
        self, model: nn.Module, rng: np.random.Generator, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        x = torch.from_numpy(rng.standard_normal((8, 3))).float()
        self.batches.append(x)
        noise = 0.1 * torch.randn(8, 1, generator=generator)
        loss = (model(x) - x.sum(1, keepdim=True) + noise).square().mean()
        if self.step == self.fail_at:
            loss = loss * float("nan")
        if self.step == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGTERM)
        if self.step == self.break_at:  # between this gradient and the next loss, as an optimizer's step can
            next(self.model.parameters()).register_post_accumulate_grad_hook(_break)
        self.step += 1
        return {"total": loss}

    def evaluate(self, model: nn.Module, report: Report) -> dict[str, float]:
        if self.interrupt_asking:
            os.kill(os.getpid(), signal.SIGTERM)
        report(1, 1)
        return {"error": float((next(model.parameters()) - 1).abs().mean())}

    def sheet(self, model: nn.Module, path: Path) -> None:
        path.write_text("sheet")

    def save(self, model: nn.Module, out: Path, metrics: dict[str, Any]) -> None:
        (out / "model.json").write_text(json.dumps(metrics))


def _break(weight: Tensor) -> None:
    weight.data.fill_(float("nan"))


def weights(out: Path) -> dict[str, Tensor]:
    return read(out / "training", kind="training").tensors


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def steps(out: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [(row["step"], row["total"]) for row in rows if "total" in row]


def test_resume_equals_uninterrupted(tmp_path: Path) -> None:
    """A run stopped three times and resumed has bit for bit the weights, averages, statistics and log of one run."""
    train(Line(), CONFIG, tmp_path / "whole")
    for until in (3, 4, 9, 12):
        config = TrainingConfig(**(vars(CONFIG) | {"steps": until}))
        train(Line(), config, tmp_path / "parts", resume=until != 3)
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    assert steps(tmp_path / "whole") == steps(tmp_path / "parts")
    assert len(steps(tmp_path / "parts")) == 12


def test_resume_after_sigterm_equals_uninterrupted(tmp_path: Path) -> None:
    """SIGTERM saves the step it was in and stops; resuming loses and repeats nothing."""
    train(Line(), CONFIG, tmp_path / "whole")
    with pytest.raises(Interrupted) as caught:
        train(Line(interrupt_at=5), CONFIG, tmp_path / "parts")
    assert caught.value.number == signal.SIGTERM
    train(Line(), CONFIG, tmp_path / "parts", resume=True)
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_a_stage_begins_once(tmp_path: Path) -> None:
    """A new run begins; a resumed one has begun; one that is interrupted at its beginning leaves nothing behind."""
    interrupted = Line()
    interrupted.interrupted_before = True
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, CONFIG, tmp_path)
    assert not list(tmp_path.iterdir())
    first, second = Line(interrupt_at=4), Line()
    with pytest.raises(Interrupted):
        train(first, CONFIG, tmp_path)
    train(second, CONFIG, tmp_path, resume=True)
    assert (first.begun, second.begun) == (1, 0)


def test_signal_handlers_are_given_back(tmp_path: Path) -> None:
    """After training, SIGTERM and SIGINT do what they did before."""
    before = (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
    train(Line(), CONFIG, tmp_path)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_nan_stops_the_run_and_reaches_no_checkpoint(tmp_path: Path) -> None:
    """A loss that is not finite stops with its step named; the saved state stays that of before."""
    config = TrainingConfig(**(vars(CONFIG) | {"steps": 4}))
    train(Line(), config, tmp_path)
    before = weights(tmp_path)
    with pytest.raises(DivergedError, match="not finite at step 6"):
        train(Line(fail_at=2), CONFIG, tmp_path, resume=True)
    assert_same(weights(tmp_path), before)
    assert all(tensor.isfinite().all() for tensor in before.values())


@pytest.mark.parametrize("step", [3, 11])
def test_broken_weights_reach_no_checkpoint(step: int, tmp_path: Path) -> None:
    """Weights that break in the optimizer's step, in the last one too, are not saved over the last good state."""
    config = TrainingConfig(**(vars(CONFIG) | {"save_every_minutes": 0.0}))
    with pytest.raises(DivergedError, match=r"the last good state is in .* --resume --set learning_rate"):
        train(Line(break_at=step), config, tmp_path)
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path).values())


def test_a_run_that_diverged_resumes_with_a_lower_learning_rate(tmp_path: Path) -> None:
    """The advice after a divergence is accepted, and the lower rate holds; nothing is promised where nothing is."""
    with pytest.raises(DivergedError, match="nothing was saved yet"):
        train(Line(fail_at=2), CONFIG, tmp_path / "new")
    config = dataclasses.replace(CONFIG, save_every_minutes=0.0)
    with pytest.raises(DivergedError):
        train(Line(fail_at=4), config, tmp_path / "out")
    good = weights(tmp_path / "out")
    train(Line(), dataclasses.replace(CONFIG, steps=5, learning_rate=1e-12), tmp_path / "out", resume=True)
    for name, tensor in weights(tmp_path / "out").items():
        if name.startswith("model."):
            torch.testing.assert_close(tensor, good[name])


def test_a_signal_ends_the_questions_about_what_is_held_out(tmp_path: Path) -> None:
    """SIGTERM while a finished run is asked is heard: what is trained is saved, and nothing more begins."""
    with pytest.raises(Interrupted) as caught:
        train(Line(interrupt_asking=True), CONFIG, tmp_path)
    assert caught.value.number == signal.SIGTERM
    assert read(tmp_path / "training", kind="training").metrics["step"] == 12
    assert train(Line(), CONFIG, tmp_path, resume=True).step == 12


def test_resume_before_the_first_save_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was killed before it saved begins again with a word; a checkpoint without its run is not replaced."""
    assert train(Line(), CONFIG, tmp_path / "out", resume=True).step == 12
    assert "the run begins at its first step" in capsys.readouterr().err
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="holds a checkpoint without its training state"):
        train(Line(), CONFIG, tmp_path, resume=True)


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    """Without --resume a second run refuses the directory; with other settings it refuses to resume, naming them."""
    train(Line(), CONFIG, tmp_path)
    with pytest.raises(ValueError, match="--resume"):
        train(Line(), CONFIG, tmp_path)
    other = TrainingConfig(**(vars(CONFIG) | {"seed": 1}))
    with pytest.raises(ValueError, match="was trained with seed=0;"):
        train(Line(), other, tmp_path, resume=True)


def test_a_setting_that_a_run_did_not_know_is_its_default(tmp_path: Path) -> None:
    """A run saved before a setting existed resumes as long as that setting has its default."""
    config = TrainingConfig(**(vars(CONFIG) | {"steps": 4}))
    train(Line(), config, tmp_path)
    index = read_index(tmp_path / "training")
    del index["config"]["training"]["gradient_clip"]
    write_index(tmp_path / "training", index)
    with pytest.raises(ValueError, match=r"was trained with gradient_clip=1\.0;"):
        train(Line(), TrainingConfig(**(vars(CONFIG) | {"gradient_clip": 2.0})), tmp_path, resume=True)
    assert train(Line(), CONFIG, tmp_path, resume=True).step == 12


def test_batches_depend_on_seed_and_step(tmp_path: Path) -> None:
    """No two steps see the same batch, and another seed sees others."""
    first, second = Line(), Line()
    train(first, CONFIG, tmp_path / "a")
    train(second, TrainingConfig(**(vars(CONFIG) | {"seed": 1})), tmp_path / "b")
    everything = torch.stack(first.batches + second.batches)
    assert len(everything.unique(dim=0)) == 24


def test_what_a_run_leaves(tmp_path: Path) -> None:
    """The checkpoint's metrics say how it came about, the log has a row a step, the sheet exists."""
    train(Line(), dataclasses.replace(CONFIG, init="/home/somebody/runs/first"), tmp_path)
    metrics = json.loads((tmp_path / "model.json").read_text())
    assert metrics["training"]["init"] == "first"  # and not whose disk it lay on
    assert metrics["step"] == 12
    assert metrics["training"]["seed"] == 0
    assert metrics["held_out"]["error"] > 0
    assert [step for step, _ in steps(tmp_path)] == list(range(1, 13))
    assert (tmp_path / "sheet.png").read_text() == "sheet"


def test_minutes_end_a_run(tmp_path: Path) -> None:
    """A run without a step limit ends by the clock."""
    config = TrainingConfig(**(vars(CONFIG) | {"steps": 10**9, "minutes": 0.005}))
    progress = train(Line(), config, tmp_path)
    assert 0.3 <= progress.seconds < 3
    assert progress.step > 1


@pytest.mark.parametrize("make", [tiny_tokenizer_stage, tiny_vae_stage])
def test_the_tokenizers_run_resumes_bitwise(
    make: Callable[[Path, TrainingConfig], TokenizerStage | VAEStage], tmp_path: Path
) -> None:
    """With a real model, codebook statistics or the noise of latents included, stop and resume equals no stop."""
    data = record_toy(tmp_path / "data", episodes=4)
    for until, out, resume in ((6, "whole", False), (2, "parts", False), (6, "parts", True)):
        config = TrainingConfig(**(vars(CONFIG) | {"steps": until}))
        stage = make(data, config)
        train(stage, config, tmp_path / out, resume=resume)
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    whole, parts = (read(tmp_path / name, kind=stage.model.kind) for name in ("whole", "parts"))
    assert_same(whole.tensors, parts.tensors)
