"""The belief's training: alone, before the dynamics, on real recordings of the toy world."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from tests.models import tiny_dynamics
from tests.training.test_dynamics import make_stage, train_tokenizer
from tests.worlds import record_toy
from worldmodel.checkpoint import read
from worldmodel.config import TrainingConfig
from worldmodel.rollouts import EpisodeDataset
from worldmodel.training.belief import BeliefModel
from worldmodel.training.dynamics import train_dynamics
from worldmodel.training.loop import train

CONFIG = TrainingConfig(batch=2, clip=6, learning_rate=1e-3, steps=2, motion_steps=4, belief_steps=2)


def world(tmp_path: Path, *, episodes: int = 4, steps: int = 3) -> tuple:
    data = EpisodeDataset(record_toy(tmp_path / "data", episodes=episodes))
    return data, train_tokenizer(data, tmp_path / "t", steps=steps)


def test_a_run_trains_its_belief_first(tmp_path: Path) -> None:
    """The checkpoint holds the belief that was trained in the folder below, unchanged by what came after."""
    data, tokenizer = world(tmp_path)
    train_dynamics(make_stage(data, tokenizer, CONFIG, tmp_path / "codes"), CONFIG, tmp_path / "m")
    belief = read(tmp_path / "m" / "belief", kind="belief")
    dynamics = read(tmp_path / "m", kind="dynamics").tensors
    assert all(torch.equal(tensor, dynamics[f"belief.{name}"]) for name, tensor in belief.tensors.items())
    assert belief.metrics["step"] == 2
    assert belief.metrics["data"] == data.fingerprint
    assert belief.metrics["held_out"].keys() >= {"error_next", "error_next_copied"}
    assert (tmp_path / "m" / "belief" / "sheet.png").stat().st_size > 0


def test_stopping_anywhere_and_resuming_is_not_stopping(tmp_path: Path) -> None:
    """A run that ended within its belief, or right after it, goes on to the same bits."""
    data, tokenizer = world(tmp_path)

    def stage(config: TrainingConfig):
        return make_stage(data, tokenizer, config, tmp_path / "codes")

    whole = dataclasses.replace(CONFIG, steps=4, belief_steps=4, cooldown=0.0)
    train_dynamics(stage(whole), whole, tmp_path / "whole")
    # Within the belief: its state is there, the rest's is not.
    for out, before in (("within", 2), ("after", 4)):
        first = stage(whole)
        part = dataclasses.replace(first.belief_training, steps=before)
        train(first.belief_stage(), part, tmp_path / out / "belief")
        train_dynamics(stage(whole), whole, tmp_path / out, resume=True)
        for below in (".", "belief"):
            want, got = (read(tmp_path / o / below / "training", kind="training").tensors for o in ("whole", out))
            unequal = [name for name in want if not torch.equal(want[name], got[name])]
            assert not unequal, (out, below, unequal)
    # Once the rest has begun, the belief stays as it is.
    longer = dataclasses.replace(whole, steps=6)
    train_dynamics(stage(longer), longer, tmp_path / "whole", resume=True)
    assert read(tmp_path / "whole" / "belief", kind="belief").metrics["step"] == 4


def test_a_known_belief_is_kept(tmp_path: Path) -> None:
    """A run that starts from another's weights takes its belief as well; without it, it trains its own."""
    data, tokenizer = world(tmp_path)
    train_dynamics(make_stage(data, tokenizer, CONFIG, tmp_path / "codes"), CONFIG, tmp_path / "first")
    known = dataclasses.replace(CONFIG, init=str(tmp_path / "first"))
    train_dynamics(make_stage(data, tokenizer, known, tmp_path / "codes"), known, tmp_path / "second")
    assert not (tmp_path / "second" / "belief").exists()
    tensors = [read(tmp_path / run, kind="dynamics").tensors for run in ("first", "second")]
    assert torch.equal(*(each["belief.seen.weight"] for each in tensors))
    for changes in ({"init_only": "decoder."}, {"init_only": "context.", "trained": "decoder."}):
        other = dataclasses.replace(known, **changes)
        assert make_stage(data, tokenizer, other, tmp_path / "codes").belief_is_open


def test_a_finished_run_is_not_begun_again(tmp_path: Path) -> None:
    """Without --resume nothing of a run is touched, its belief included."""
    data, tokenizer = world(tmp_path)
    train_dynamics(make_stage(data, tokenizer, CONFIG, tmp_path / "codes"), CONFIG, tmp_path / "m")
    with pytest.raises(ValueError, match="already holds a training run"):
        train_dynamics(make_stage(data, tokenizer, CONFIG, tmp_path / "codes"), CONFIG, tmp_path / "m")


def test_blind_frames_are_not_seen() -> None:
    """Errors do not depend on what is not looked at, but on what is to be painted and on what was seen."""
    dynamics = tiny_dynamics()
    model = BeliefModel(dynamics.config, dynamics.code_vectors, dynamics.appearances)
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(16, (2, 5, 8, 8), generator=generator)
    actions = torch.randint(4, (2, 4), generator=generator)
    seen = torch.tensor([2, 4])
    usual = model.errors(codes, codes[:, :-1], actions, seen)
    past = codes[:, :-1].clone()
    past[:, 3] = (past[:, 3] + 1) % 16
    changed = model.errors(codes, past, actions, seen)
    assert torch.equal(changed[0], usual[0])
    assert torch.equal(changed[1, :3], usual[1, :3])
    assert not torch.equal(changed[1, 3], usual[1, 3])


@pytest.mark.slow
def test_the_toy_world_is_believed(tmp_path: Path) -> None:
    """In unseen worlds, what is expected is nearer to what comes than what was seen last, also at a blind end."""
    data, tokenizer = world(tmp_path, episodes=60, steps=300)
    config = dataclasses.replace(CONFIG, steps=300, belief_steps=300)
    stage = make_stage(data, tokenizer, config, tmp_path / "codes").belief_stage()
    figures = train(
        stage, make_stage(data, tokenizer, config, tmp_path / "codes").belief_training, tmp_path / "b"
    ).metrics
    assert figures["error_next"] < figures["error_next_copied"]
    assert figures["error_blind"] < 0.8 * figures["error_blind_copied"]
