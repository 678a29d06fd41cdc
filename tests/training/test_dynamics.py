"""Stage 2 on real recordings of the toy world."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worlds import record_toy
from worldmodel.checkpoint import read
from worldmodel.config import DynamicsConfig, TokenizerConfig, TrainingConfig
from worldmodel.rollouts import EpisodeDataset
from worldmodel.simulator import Simulator
from worldmodel.tokenizer.model import Tokenizer
from worldmodel.training.dynamics import DynamicsStage
from worldmodel.training.loop import train
from worldmodel.training.tokenizer import TokenizerStage

TOKENIZER = TokenizerConfig(frame_size=32, codebook_size=32, code_dim=8, hidden_dim=32, residual_dim=16)


def train_tokenizer(data: EpisodeDataset, out: Path, *, steps: int) -> Tokenizer:
    config = TrainingConfig(batch=8, clip=1, learning_rate=3e-3, steps=steps, warmup_steps=10)
    train(TokenizerStage(data, TOKENIZER, config), config, out)
    return Tokenizer.from_pretrained(out)


def make_stage(
    data: EpisodeDataset, tokenizer: Tokenizer, config: TrainingConfig, cache: Path, **changes: int
) -> DynamicsStage:
    model = DynamicsConfig(
        action_names=data.info.action_names,
        frame_skip=data.info.frame_skip,
        frames_per_second=data.info.frames_per_second,
        code_grid=8,
        codebook_size=32,
        code_dim=8,
        window=3,
        context_dim=64,
        context_layers=2,
        decoder_dim=64,
        head_dim=32,
        chain_dim=32,
        pose=True,
        belief_dim=64,
        field_dim=96,
        field_grid=128,
    )
    model = dataclasses.replace(model, **changes)
    return DynamicsStage(data, tokenizer, model, config, cache=cache, tokenizer_metrics={"psnr": 1.0})


def test_a_run_saves_what_the_simulator_loads(tmp_path: Path) -> None:
    """The checkpoint is complete by itself: tokenizer, actions, frame skip, fingerprints, metrics, sheet."""
    data = EpisodeDataset(record_toy(tmp_path / "data", episodes=4))
    tokenizer = train_tokenizer(data, tmp_path / "t", steps=3)
    config = TrainingConfig(batch=2, clip=6, learning_rate=1e-3, muon_learning_rate=5e-3, steps=2, motion_steps=4)
    train(make_stage(data, tokenizer, config, tmp_path / "codes"), config, tmp_path / "m")
    simulator = Simulator.from_pretrained(tmp_path / "m")
    assert simulator.action_names == data.info.action_names
    assert simulator.frame_skip == data.info.frame_skip
    checkpoint = read(tmp_path / "m", kind="dynamics")
    assert checkpoint.metrics["data"] == data.fingerprint
    assert checkpoint.config["tokenizer"] == tokenizer.fingerprint()
    assert checkpoint.metrics["held_out"]["nats"] > 0
    assert (tmp_path / "m" / "sheet.png").stat().st_size > 0


def test_the_dynamics_run_resumes_bitwise(tmp_path: Path) -> None:
    """Stop and resume equals no stop, with both kinds of optimizers and a config that holds names."""
    data = EpisodeDataset(record_toy(tmp_path / "data", episodes=4))
    tokenizer = train_tokenizer(data, tmp_path / "t", steps=3)
    for until, out, resume in ((4, "whole", False), (2, "parts", False), (4, "parts", True)):
        config = TrainingConfig(
            batch=2, clip=6, learning_rate=1e-3, muon_learning_rate=5e-3, steps=until, cooldown=0.0, motion_steps=4
        )
        train(make_stage(data, tokenizer, config, tmp_path / "codes"), config, tmp_path / out, resume=resume)
    whole, parts = (read(tmp_path / out / "training", kind="training").tensors for out in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_the_motion_is_fitted_where_nothing_is_known_of_it(tmp_path: Path) -> None:
    """A start without the motion's weights does not count as one that knows; a motion that is to stay is left alone."""
    data = EpisodeDataset(record_toy(tmp_path / "data", episodes=4))
    tokenizer = train_tokenizer(data, tmp_path / "t", steps=3)
    config = TrainingConfig(batch=2, clip=6, learning_rate=1e-3, steps=1, motion_steps=4)
    train(make_stage(data, tokenizer, config, tmp_path / "codes"), config, tmp_path / "first")

    def fitted(**changes: str) -> bool:
        stage = make_stage(data, tokenizer, dataclasses.replace(config, **changes), tmp_path / "codes")
        before = stage.model.context.motion.camera.detach().clone()
        stage.begin(signals=[], visible=False)
        assert stage.model.appearances.any()
        return not torch.equal(stage.model.context.motion.camera, before)

    first = str(tmp_path / "first")
    assert fitted()
    assert not fitted(init=first)
    assert fitted(init=first, init_only="decoder.")
    assert not fitted(init=first, init_only="decoder.", trained="decoder.")


def test_a_cell_that_is_not_the_tokenizers_is_refused(tmp_path: Path) -> None:
    """What a code looks like is as large as its place in the frame; another size is named, with the right one."""
    data = EpisodeDataset(record_toy(tmp_path / "data", episodes=4))
    tokenizer = train_tokenizer(data, tmp_path / "t", steps=3)
    config = TrainingConfig(batch=2, clip=6, learning_rate=1e-3, steps=1)
    with pytest.raises(ValueError, match=r"cell must be 4, .* got 8"):
        make_stage(data, tokenizer, config, tmp_path / "codes", cell=8)


def test_a_dream_is_what_the_simulator_imagines(tmp_path: Path) -> None:
    """The first frames are real, the others are drawn as the simulator draws them, with the weights of the moment."""
    data = EpisodeDataset(record_toy(tmp_path / "data", episodes=4))
    tokenizer = train_tokenizer(data, tmp_path / "t", steps=3)
    config = TrainingConfig(batch=2, clip=8, learning_rate=1e-3, steps=1, motion_steps=4)
    stage = make_stage(data, tokenizer, config, tmp_path / "codes")
    for changes in (0.0, 0.1):
        with torch.no_grad():
            for parameter in stage.model.context.parameters():
                parameter.add_(changes * torch.randn_like(parameter))
        codes, actions = stage.clips.read(stage.clips.training.spread(2))
        past = codes[:, :-1]
        dream = stage.dream(past, actions, 4, None, torch.Generator().manual_seed(5))
        assert dream.shape == past.shape
        assert torch.equal(dream[:, :4], past[:, :4])
        simulator = Simulator(tokenizer, stage.model, precision="float32")
        simulator.seed(5)
        simulator.reset_codes(past[:, :4], actions[:, :3])
        imagined = [simulator.step(actions[:, t]) for t in range(3, 6)]
        assert torch.equal(dream[:, 4:], torch.stack(imagined, dim=1))


@pytest.mark.parametrize(("dreams", "pose", "number"), [(1.0, True, 3), (0.0, True, 0), (1.0, False, 0)])
def test_clips_dream_as_often_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dreams: float, pose: bool, number: int
) -> None:
    """Every clip, none, and none of a dynamics without a belief; the loss is that of the dreamt past."""
    data = EpisodeDataset(record_toy(tmp_path / "data", episodes=4))
    tokenizer = train_tokenizer(data, tmp_path / "t", steps=3)
    config = TrainingConfig(batch=2, clip=8, learning_rate=1e-3, steps=1, motion_steps=4, dreams=dreams)
    stage = make_stage(data, tokenizer, config, tmp_path / "codes", pose=pose)
    given: list[tuple[torch.Tensor, ...]] = []
    dreamt: list[torch.Tensor] = []
    dream = stage.dream
    monkeypatch.setattr(stage, "dream", lambda *args: dreamt.append(dream(*args)) or dreamt[-1])
    stage.model.register_forward_hook(lambda module, inputs, out: given.append(inputs))
    for seed in range(3):
        stage.losses(stage.model, np.random.default_rng(seed), torch.Generator().manual_seed(seed), 0.0)
    assert len(dreamt) == number
    for codes, actions, past, seen, views in given:
        assert torch.equal(past[:, :seen], codes[:, :seen])
        assert (seen < actions.shape[1]) == bool(number)  # type: ignore[operator]
        assert (views is not None) is pose
    assert all(torch.equal(one, inputs[2]) for one, inputs in zip(dreamt, given, strict=False))


@pytest.mark.slow
def test_the_toy_world_is_learnt_and_obeys(tmp_path: Path) -> None:
    """In unseen worlds where the next frame follows from the action, the right actions make the codes likelier."""
    data = EpisodeDataset(record_toy(tmp_path / "data", episodes=60))
    tokenizer = train_tokenizer(data, tmp_path / "t", steps=300)
    config = TrainingConfig(batch=4, clip=6, learning_rate=2e-3, muon_learning_rate=1e-2, steps=400, warmup_steps=20)
    # Every episode has a world of its own: there is no map to be known.
    stage = make_stage(data, tokenizer, config, tmp_path / "codes", pose=False)
    told: list[tuple[int, int]] = []
    before = stage.evaluate(stage.model.eval(), lambda *done: told.append(done))
    assert told == sorted(set(told))
    assert told[-1] == (3 * len(stage.held_out[0]),) * 2
    after = train(stage, config, tmp_path / "m").metrics
    assert after["nats"] < 0.8 * before["nats"]
    assert after["action_gap"] > 0.1
    assert after["nats"] < after["nats_no_actions"] < after["nats_random_actions"]
