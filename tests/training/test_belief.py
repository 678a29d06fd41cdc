"""The belief's training: alone, before the dynamics, on real recordings of the toy world."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models import tiny_dynamics
from tests.room import ROOM, record_room
from tests.training.test_dynamics import make_stage, train_tokenizer
from tests.worlds import record_toy
from worldmodel.checkpoint import read
from worldmodel.config import TrainingConfig
from worldmodel.dynamics.model import Dynamics
from worldmodel.dynamics.motion import paint
from worldmodel.rollouts import EpisodeDataset
from worldmodel.training import belief as belief_module
from worldmodel.training.belief import BeliefModel, Poses
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
    for name in ("belief.seen.weight", "belief.extent", "belief.field.walls", "belief.ego_motion.pushes"):
        assert torch.equal(*(each[name] for each in tensors))
        assert tensors[0][name].any()  # how the camera moves was fitted before the first step
    for changes in (
        {"init_only": "decoder."},
        {"init_only": "context.", "trained": "decoder."},
        {"train_belief": True},
    ):
        other = dataclasses.replace(known, **changes)  # type: ignore[arg-type]
        stage = make_stage(data, tokenizer, other, tmp_path / "codes")
        assert stage.belief_is_open
        belief_stage = stage.belief_stage()
        assert (belief_stage.fit_steps == 0) is ("train_belief" in changes)
        begun = belief_stage.model.belief.state_dict()
        for name in ("seen.weight", "ego_motion.pushes"):
            assert torch.equal(begun[name], tensors[0][f"belief.{name}"]) is ("train_belief" in changes)


def test_a_known_map_stays_the_same_map(tmp_path: Path) -> None:
    """A run on other recordings keeps the map that its belief was learnt on."""
    data, tokenizer = world(tmp_path)
    train_dynamics(make_stage(data, tokenizer, CONFIG, tmp_path / "codes"), CONFIG, tmp_path / "first")
    other = EpisodeDataset(record_toy(tmp_path / "other", episodes=2))
    again = dataclasses.replace(CONFIG, init=str(tmp_path / "first"), train_belief=True)
    stage = make_stage(other, tokenizer, again, tmp_path / "other-codes")
    want = read(tmp_path / "first", kind="dynamics").tensors["belief.extent"]
    assert torch.equal(stage.belief_stage().model.belief.extent, want)
    assert not torch.equal(make_stage(other, tokenizer, CONFIG, tmp_path / "other-codes").model.belief.extent, want)


def test_a_finished_run_is_not_begun_again(tmp_path: Path) -> None:
    """Without --resume nothing of a run is touched, its belief included."""
    data, tokenizer = world(tmp_path)
    train_dynamics(make_stage(data, tokenizer, CONFIG, tmp_path / "codes"), CONFIG, tmp_path / "m")
    with pytest.raises(ValueError, match="already holds a training run"):
        train_dynamics(make_stage(data, tokenizer, CONFIG, tmp_path / "codes"), CONFIG, tmp_path / "m")


def test_a_data_set_that_tells_no_pose_is_refused(tmp_path: Path) -> None:
    """Unless the dynamics is to be trained without a belief, which has none then."""
    data, tokenizer = world(tmp_path)
    data.info = dataclasses.replace(data.info, variables=("position_x",))
    with pytest.raises(ValueError, match="does not tell position_y, angle"):
        make_stage(data, tokenizer, CONFIG, tmp_path / "codes")
    train_dynamics(make_stage(data, tokenizer, CONFIG, tmp_path / "codes", pose=False), CONFIG, tmp_path / "m")
    assert not (tmp_path / "m" / "belief").exists()
    assert Dynamics.from_pretrained(tmp_path / "m").belief is None


def test_poses_that_are_no_numbers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN in a recorded position is said with its name, episode and frame, not as an index that is out of bounds."""
    data = EpisodeDataset(record_toy(tmp_path / "d"))
    recorded = EpisodeDataset.variables

    def broken(self: EpisodeDataset, index: int) -> dict[str, np.ndarray]:
        values = recorded(self, index)
        values["position_y"][7] = np.nan if index == 1 else 0
        return values

    monkeypatch.setattr(EpisodeDataset, "variables", broken)
    with pytest.raises(ValueError, match=r"position_y is not finite in episode 1, frame 7; .*pose=false"):
        Poses(data, 3)


def test_poses_are_those_of_the_frames(tmp_path: Path) -> None:
    """Row by row what the recordings say, and the bounds of all of it."""
    data, _ = world(tmp_path)
    poses = Poses(data, 2)
    read = poses.read([(1, 3), (0, 0)], 4)
    assert read.shape == (2, 4, 3)
    earlier = poses.read([(1, 3), (0, 0)], 3, before=1)
    assert torch.equal(earlier[0], poses.read([(1, 2)], 4)[0])
    assert torch.equal(earlier[1, 1:], read[1, :3])
    assert torch.equal(earlier[1, 0], read[1, 0])  # nothing was before the first
    assert read[0, :, 2].tolist() == data.variables(1)["angle"][3:7].tolist()
    low, high = poses.bounds()
    assert float(high[1]) == max(data.variables(i)["position_y"].max() for i in range(2))
    assert low.tolist() == [0, 0]


def tiny_model() -> BeliefModel:
    dynamics = tiny_dynamics()
    model = BeliefModel(dynamics.config, dynamics.code_vectors, dynamics.appearances)
    assert dynamics.belief is not None
    model.belief.load_state_dict(dynamics.belief.state_dict())  # a field without colours compares nothing
    return model


def test_blind_frames_are_not_seen() -> None:
    """Views do not depend on what is not looked at, but on what was seen; paintings are those of their views."""
    model = tiny_model()
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(16, (2, 4, 8, 8), generator=generator)
    actions = torch.randint(4, (2, 4), generator=generator)
    usual = model.views(codes, actions, 2)
    codes[:, 2:] = (codes[:, 2:] + 1) % 16
    assert torch.equal(model.views(codes, actions, 2), usual)
    codes[:, 1] = (codes[:, 1] + 1) % 16
    assert not torch.equal(model.views(codes, actions, 2)[:, 1:], usual[:, 1:])
    torch.testing.assert_close(model.belief.paint(usual)[1, 3], model.belief.field.view(usual[1, 3:])[0])


def test_misplacement_is_in_the_games_units() -> None:
    """Distances grow with the map, and a full turn away is no turn."""
    model = tiny_model()
    generator = torch.Generator().manual_seed(0)
    views = torch.randn(2, 4, 4, generator=generator)
    model.belief.settle(torch.tensor([-300.0, 0.0]), torch.tensor([100.0, 400.0]))  # 200 units are 1
    true = torch.cat([(views[..., :2] + 0.03) * 200 + torch.tensor([-100.0, 200.0]), views[..., 2:3]], dim=-1)
    true[..., 2] = true[..., 2] * 180 / math.pi + 360 + 5
    distances, angles = model.misplaced(views, true)
    torch.testing.assert_close(distances, torch.full((2, 4), 6 * 2**0.5), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(angles, torch.full((2, 4), 5.0), atol=1e-3, rtol=1e-3)


def test_what_is_to_be_painted_is_what_the_codes_look_like() -> None:
    """A field that painted every block as its code looks has no error; one that is a constant off has its square."""
    model = tiny_model()
    codes = torch.randint(16, (3, 8, 8), generator=torch.Generator().manual_seed(0))
    whole = model.belief.field.blocks(paint(codes.unsqueeze(1), model.appearances)[:, 0])
    frame = torch.arange(3)[:, None, None]
    for off in (0.0, 0.5):
        field = model.belief.field
        shown = lambda views, columns, rows, generator, off=off: whole[frame, columns.unsqueeze(-1), rows] + off  # noqa: E731
        field.forward = shown  # type: ignore[method-assign,assignment]
        error = model._painted(codes, torch.zeros(3, 4), torch.Generator().manual_seed(1))
        assert float(error) == pytest.approx(off**2, abs=1e-6)


@pytest.mark.slow
def test_a_world_that_stays_is_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a room known from other episodes, the belief finds out where it is, and what comes, also blind."""
    monkeypatch.setattr(belief_module, "HELD_OUT_CLIPS", 8)
    data = EpisodeDataset(record_room(tmp_path / "data", episodes=100))
    tokenizer = train_tokenizer(data, tmp_path / "t", steps=300)
    config = dataclasses.replace(CONFIG, steps=400, belief_steps=400, motion_steps=300)
    stage = make_stage(data, tokenizer, config, tmp_path / "codes", field_dim=48)
    training = dataclasses.replace(stage.belief_training, learning_rate=3e-3)
    figures = train(stage.belief_stage(), training, tmp_path / "b").metrics
    assert figures["error_next"] < 0.7 * figures["error_next_copied"]
    assert figures["error_blind"] < 0.7 * figures["error_blind_copied"]
    assert figures["median_angle_next"] < 5
    assert figures["median_angle_blind"] < 5
    assert figures["median_distance_next"] < 0.2 * ROOM[0]
    assert figures["median_distance_blind"] < 0.2 * ROOM[0]
