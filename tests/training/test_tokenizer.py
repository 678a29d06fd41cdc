"""Training on single frames: what the VAE's run reports, and that seeds decide it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.data import tiny_tokenizer_stage, tiny_vae_stage
from tests.worlds import record_toy
from worldmodel.checkpoints.checkpoint import read
from worldmodel.config import TokenizerConfig, TrainingConfig, VAEConfig
from worldmodel.rollouts import EpisodeDataset
from worldmodel.tokenizer.vae import active
from worldmodel.training.loop import train
from worldmodel.training.tokenizer import CollapsedError, VAEStage, judge_usage, usable_codes

CONFIG = TrainingConfig(
    batch=2, clip=1, learning_rate=3e-3, minutes=100.0, steps=4, warmup_steps=2, log_every_steps=1, cooldown=0.0
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_toy(tmp_path_factory.mktemp("toy") / "d")


def test_the_vaes_log(data: Path, tmp_path: Path) -> None:
    """A step reports the bound, its KL and the active units; the bound is what is minimised, in bits."""
    train(tiny_vae_stage(data, CONFIG), CONFIG, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "total" in row]
    assert len(steps) == 4
    for row in steps:
        assert row["bits_per_dim"] == pytest.approx(row["total"] / math.log(2))
        assert {"psnr", "kl_bits", "active_units"} <= row.keys()
    assert rows[-1]["held_out"].keys() == {"psnr", "psnr_sample", "bits_per_dim", "kl_bits", "active_units"}
    assert (tmp_path / "sheet.png").stat().st_size > 100


def test_held_out_numbers_of_the_vae(data: Path) -> None:
    """They are those of its own loss on the same frames, but for the rounding of decoded frames to grey levels."""
    stage = tiny_vae_stage(data, CONFIG)
    model = stage.model.eval()
    with torch.no_grad():
        reported: list[tuple[int, int]] = []
        found = stage.evaluate(model, lambda *done: reported.append(done))
        assert reported == [(1, 3), (2, 3)]
        assert stage.evaluate(model, lambda *done: None) == found
        losses = model.loss(torch.from_numpy(stage.held_out), generator=torch.Generator().manual_seed(0))
    assert found["bits_per_dim"] == pytest.approx(losses.total.item() / math.log(2), rel=1e-3)
    assert found["kl_bits"] == pytest.approx(losses.kl.item() * 32 * 32 * 3 / math.log(2), rel=1e-4)
    assert found["active_units"] == int(active(losses.means).sum())


def test_both_kinds_see_the_same_batches(data: Path) -> None:
    """The VAE is a fair baseline: at one seed and step it is given the frames that the tokenizer is given."""
    stages = tiny_tokenizer_stage(data, CONFIG), tiny_vae_stage(data, CONFIG)
    drawn = [stage.clips.training.draw(np.random.default_rng([0, 3, 0]), stage.batch) for stage in stages]
    assert drawn[0] == drawn[1]
    assert torch.equal(*(stage.read(stage.clips.read, places) for stage, places in zip(stages, drawn, strict=True)))
    assert np.array_equal(stages[0].held_out, stages[1].held_out)


def test_the_seed_decides_the_vae(data: Path, tmp_path: Path) -> None:
    """The same seed trains the same weights, another one others."""
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        config = TrainingConfig(**(vars(CONFIG) | {"seed": seed}))
        train(tiny_vae_stage(data, config), config, tmp_path / out)
    a, b, c = (read(tmp_path / out, kind="vae").tensors for out in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["encoder.0.weight"], c["encoder.0.weight"])


def test_a_run_starts_from_its_own_kind(data: Path, tmp_path: Path) -> None:
    """`init` takes a VAE's weights for a VAE, and names the kind of what is none."""
    train(tiny_vae_stage(data, CONFIG), CONFIG, tmp_path / "vae")
    start = TrainingConfig(**(vars(CONFIG) | {"init": str(tmp_path / "vae")}))
    begun = tiny_vae_stage(data, start).model.state_dict()
    assert all(torch.equal(begun[name], saved) for name, saved in read(tmp_path / "vae", kind="vae").tensors.items())
    with pytest.raises(ValueError, match="is a vae checkpoint, not a tokenizer checkpoint"):
        tiny_tokenizer_stage(data, start)


def test_frames_of_another_size_are_refused(data: Path) -> None:
    """A data set's frames have the size the model was made for, or the message has both."""
    with pytest.raises(ValueError, match="frames are 32 pixels wide, the vae's 64"):
        VAEStage(EpisodeDataset(data), VAEConfig(frame_size=64, hidden_dim=16), CONFIG)


CODES = TokenizerConfig(frame_size=32, codebook_size=64)


def test_textured_frames_can_use_every_code() -> None:
    """Where no two places look alike, the codebook is the limit."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 1, 32, 32, 3), dtype=np.uint8)
    assert usable_codes(noise, CODES) == 64


def test_a_simple_game_can_use_few_codes() -> None:
    """A ball on an empty field: the field is one code, and the ball's few places keep only some alive."""
    frames = np.zeros((40, 1, 32, 32, 3), np.uint8)
    assert usable_codes(frames, CODES) == 1
    for t in range(40):
        frames[t, 0, 8:10, t % 28 : t % 28 + 2] = 255
    assert 1 < usable_codes(frames, CODES) < 32


def test_a_collapsed_codebook_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Below a half of what the frames could use there is a warning, below a twentieth the run stops; a simple game
    that uses few of many codes passes."""
    judge_usage(300, 512, 512)
    judge_usage(12, 20, 512)
    assert capsys.readouterr().err == ""
    judge_usage(200, 512, 512)
    assert "warning: 200 of 512 codes are in use, and these frames could use 512" in capsys.readouterr().err
    with pytest.raises(CollapsedError, match="collapsed: 1 of 512 codes are in use, and these frames could use 512"):
        judge_usage(1, 512, 512)
    judge_usage(1, 1, 512)


def test_a_collapsed_run_stops(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends in an error, and nothing is saved over what was there."""
    stage = tiny_tokenizer_stage(data, CONFIG)
    monkeypatch.setattr(type(stage.model), "encode", lambda self, frames: torch.zeros(len(frames), 1, 8, 8).long())
    stage.usable = 64
    with pytest.raises(CollapsedError):
        train(stage, CONFIG, tmp_path)
    assert not (tmp_path / "config.json").exists()
