"""Stage 2 on real recordings of the toy world."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.models import enclose
from tests.worlds import record_toy
from worldmodel.checkpoints.checkpoint import read
from worldmodel.config import DynamicsConfig, TokenizerConfig, TrainingConfig
from worldmodel.dynamics.expectation import Expectation
from worldmodel.learned_map.config import LearnedMapConfig
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
    data: EpisodeDataset,
    tokenizer: Tokenizer,
    config: TrainingConfig,
    cache: Path,
    *,
    has_map: bool = False,
    colour_dim: int = 96,
    **changes: int,
) -> DynamicsStage:
    codes = {"action_names": data.info.action_names, "code_grid": 8, "codebook_size": 32, "code_dim": 8}
    model = DynamicsConfig(
        **codes,  # type: ignore[arg-type]
        frame_skip=data.info.frame_skip,
        frames_per_second=data.info.frames_per_second,
        window=3,
        context_dim=64,
        context_layers=2,
        decoder_dim=64,
        head_dim=32,
        chain_dim=32,
        expectation=has_map,
    )
    model = dataclasses.replace(model, **changes)  # type: ignore[arg-type]
    map_config = LearnedMapConfig(
        **codes,  # type: ignore[arg-type]
        tics_per_step=data.info.frame_skip,
        memory_dim=64,
        colour_dim=colour_dim,
        map_grid=128,
    )
    return DynamicsStage(
        data,
        tokenizer,
        model,
        config,
        cache=cache,
        tokenizer_metrics={"psnr": 1.0},
        map_config=map_config if has_map else None,
    )


def test_a_run_saves_what_the_simulator_loads(tmp_path: Path) -> None:
    """The checkpoint is complete by itself: tokenizer, actions, frame skip, fingerprints, metrics, sheet."""
    data = EpisodeDataset(record_toy(tmp_path / "data", episodes=4))
    tokenizer = train_tokenizer(data, tmp_path / "t", steps=3)
    config = TrainingConfig(batch=2, clip=6, learning_rate=1e-3, muon_learning_rate=5e-3, steps=2, flow_steps=4)
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
            batch=2, clip=6, learning_rate=1e-3, muon_learning_rate=5e-3, steps=until, cooldown=0.0, flow_steps=4
        )
        train(make_stage(data, tokenizer, config, tmp_path / "codes"), config, tmp_path / out, resume=resume)
    whole, parts = (read(tmp_path / out / "training", kind="training").tensors for out in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_the_flow_is_fitted_where_nothing_is_known_of_it(tmp_path: Path) -> None:
    """A start without the flow's weights does not count as one that knows; a flow that is to stay is left alone."""
    data = EpisodeDataset(record_toy(tmp_path / "data", episodes=4))
    tokenizer = train_tokenizer(data, tmp_path / "t", steps=3)
    config = TrainingConfig(batch=2, clip=6, learning_rate=1e-3, steps=1, flow_steps=4)
    train(make_stage(data, tokenizer, config, tmp_path / "codes"), config, tmp_path / "first")

    def fitted(**changes: str) -> bool:
        stage = make_stage(data, tokenizer, dataclasses.replace(config, **changes), tmp_path / "codes")
        before = stage.model.context.flow.camera.detach().clone()
        stage.begin(signals=[], visible=False)
        assert stage.model.code_appearance.any()
        return not torch.equal(stage.model.context.flow.camera, before)

    first = str(tmp_path / "first")
    assert fitted()
    assert not fitted(init=first)
    assert fitted(init=first, init_only="decoder.")
    assert not fitted(init=first, init_only="decoder.", trained="decoder.")


def test_code_pixels_that_are_not_the_tokenizers_are_refused(tmp_path: Path) -> None:
    """What a code looks like is as large as its place in the frame; another size is named, with the right one."""
    data = EpisodeDataset(record_toy(tmp_path / "data", episodes=4))
    tokenizer = train_tokenizer(data, tmp_path / "t", steps=3)
    config = TrainingConfig(batch=2, clip=6, learning_rate=1e-3, steps=1)
    with pytest.raises(ValueError, match=r"code_pixels must be 4, .* got 8"):
        make_stage(data, tokenizer, config, tmp_path / "codes", code_pixels=8)


def test_a_self_rollout_is_what_the_simulator_imagines(tmp_path: Path) -> None:
    """The first frames are real, the others are sampled as the simulator samples them, with the weights of the moment.

    What the map expects of them, precision included, is what it expects in imagination.
    """
    data = EpisodeDataset(record_toy(tmp_path / "data", episodes=4))
    tokenizer = train_tokenizer(data, tmp_path / "t", steps=3)
    config = TrainingConfig(batch=2, clip=8, learning_rate=1e-3, steps=1, flow_steps=4)
    stage = make_stage(data, tokenizer, config, tmp_path / "codes", has_map=True)
    stage.begin(signals=[], visible=False)  # codes have a look: else no logit bias tells one precision from another
    assert stage.map_run is not None
    learned_map = stage.map_run.learned_map
    with torch.no_grad():
        enclose(learned_map.field)
        torch.nn.init.normal_(learned_map.field.wall[-1].weight)  # type: ignore[arg-type]
    for changes in (0.0, 0.1):
        with torch.no_grad():
            for parameter in stage.model.context.parameters():
                parameter.add_(changes * torch.randn_like(parameter))
        codes, actions = stage.clips.read(stage.clips.training.spread(2))
        past = codes[:, :-1]
        expectation = learned_map.follow(past, actions, num_real=4)
        assert expectation.precision[:, 3].min() > expectation.precision[:, 0].max()  # of the first imagined frame
        rollout = stage.self_rollout(past, actions, 4, expectation, torch.Generator().manual_seed(5))
        assert rollout.shape == past.shape
        assert torch.equal(rollout[:, :4], past[:, :4])
        simulator = Simulator(tokenizer, stage.model, learned_map, precision="float32")
        simulator.seed(5)
        simulator.reset_codes(past[:, :4], actions[:, :3])
        imagined = [simulator.step(actions[:, t]) for t in range(3, 6)]
        assert torch.equal(rollout[:, 4:], torch.stack(imagined, dim=1))


@pytest.mark.parametrize(("share", "has_map", "number"), [(1.0, True, 3), (0.0, True, 0), (1.0, False, 0)])
def test_clips_are_rolled_out_as_often_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, has_map: bool, number: int
) -> None:
    """Every clip, none, and none of a dynamics without a map; the loss is that of the past that was sampled.

    The precision of what is expected is that of imagination from the first sampled frame on, in the loss as well.
    """
    data = EpisodeDataset(record_toy(tmp_path / "data", episodes=4))
    tokenizer = train_tokenizer(data, tmp_path / "t", steps=3)
    config = TrainingConfig(
        batch=2, clip=8, learning_rate=1e-3, steps=1, flow_steps=4, self_rollouts=share, expectation_dropout=0.0
    )
    stage = make_stage(data, tokenizer, config, tmp_path / "codes", has_map=has_map)
    given: list[dict[str, Any]] = []
    rolled: list[tuple[torch.Tensor, int, Expectation]] = []
    rollout = stage.self_rollout

    def noted(past: torch.Tensor, actions: torch.Tensor, num_real: int, *more: Any) -> torch.Tensor:
        rolled.append((rollout(past, actions, num_real, *more), num_real, more[0]))
        return rolled[-1][0]

    monkeypatch.setattr(stage, "self_rollout", noted)
    stage.model.register_forward_hook(lambda module, inputs, how, out: given.append(how), with_kwargs=True)
    for seed in range(3):
        stage.losses(stage.model, np.random.default_rng(seed), torch.Generator().manual_seed(seed), 0.0)
    assert len(rolled) == number
    assert all((how["expectation"] is not None) is has_map for how in given)
    for (past, num_real, expectation), how in zip(rolled, given, strict=False):
        assert torch.equal(past, how["past"])
        assert expectation is how["expectation"]
        after_look, in_imagination = (expectation.precision[:, t].max() for t in (0, num_real - 1))
        assert num_real == 1 or in_imagination > 10 * after_look


@pytest.mark.parametrize("dropout", [0.0, 0.5, 1.0])
def test_expectations_are_dropped_as_often_as_asked(tmp_path: Path, dropout: float) -> None:
    """Whole clips are trained with nothing expected, so that one checkpoint serves without its map."""
    data = EpisodeDataset(record_toy(tmp_path / "data", episodes=4))
    tokenizer = train_tokenizer(data, tmp_path / "t", steps=3)
    config = TrainingConfig(
        batch=8, clip=5, learning_rate=1e-3, steps=1, self_rollouts=0.0, expectation_dropout=dropout
    )
    stage = make_stage(data, tokenizer, config, tmp_path / "codes", has_map=True)
    given: list[Expectation] = []
    stage.model.register_forward_hook(
        lambda module, inputs, how, out: given.append(how["expectation"]), with_kwargs=True
    )
    for seed in range(4):
        stage.losses(stage.model, np.random.default_rng(seed), torch.Generator().manual_seed(seed), 0.0)
    expected = torch.cat([each.precision for each in given]) > 0
    assert (expected.any(1) == expected.all(1)).all()
    share = 1 - expected.float().mean().item()
    assert share == dropout or abs(share - dropout) < 0.25


@pytest.mark.slow
def test_the_toy_world_is_learnt_and_obeys(tmp_path: Path) -> None:
    """In unseen worlds where the next frame follows from the action, the right actions make the codes likelier."""
    data = EpisodeDataset(record_toy(tmp_path / "data", episodes=60))
    tokenizer = train_tokenizer(data, tmp_path / "t", steps=300)
    config = TrainingConfig(batch=4, clip=6, learning_rate=2e-3, muon_learning_rate=1e-2, steps=400, warmup_steps=20)
    stage = make_stage(data, tokenizer, config, tmp_path / "codes")
    reported: list[tuple[int, int]] = []
    before = stage.evaluate(stage.model.eval(), lambda *done: reported.append(done))
    assert reported == sorted(set(reported))
    assert reported[-1] == (3 * len(stage.held_out[0]),) * 2
    after = train(stage, config, tmp_path / "m").metrics
    assert after["nats"] < 0.8 * before["nats"]
    assert after["action_gap"] > 0.1
    assert after["nats"] < after["nats_no_actions"] < after["nats_random_actions"]
