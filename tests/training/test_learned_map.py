"""The learned map's training: before the dynamics, on real recordings of the toy world."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.models import tiny_map
from tests.room import ROOM, record_room
from tests.training.test_dynamics import make_stage, train_tokenizer
from tests.worlds import record_toy
from worldmodel.checkpoints.checkpoint import read
from worldmodel.config import TrainingConfig
from worldmodel.learned_map.map import LearnedMap
from worldmodel.rollouts import EpisodeDataset
from worldmodel.simulator import Simulator
from worldmodel.tokenizer.model import Tokenizer
from worldmodel.training import learned_map as learned_map_module
from worldmodel.training.dynamics import DynamicsStage, train_dynamics
from worldmodel.training.learned_map import LearnedMapTrainer, MapExpectations, Poses
from worldmodel.training.loop import train

CONFIG = TrainingConfig(batch=2, clip=6, learning_rate=1e-3, steps=2, flow_steps=4, map_steps=2)


def world(tmp_path: Path, *, episodes: int = 4, steps: int = 3) -> tuple:
    data = EpisodeDataset(record_toy(tmp_path / "data", episodes=episodes))
    return data, train_tokenizer(data, tmp_path / "t", steps=steps)


def stage_of(
    data: EpisodeDataset, tokenizer: Tokenizer, config: TrainingConfig, cache: Path, **changes: Any
) -> DynamicsStage:
    return make_stage(data, tokenizer, config, cache, has_map=True, **changes)


def test_a_run_trains_its_map_first(tmp_path: Path) -> None:
    """The checkpoint holds the map that was trained in the folder below, unchanged by what came after."""
    data, tokenizer = world(tmp_path)
    stage = stage_of(data, tokenizer, CONFIG, tmp_path / "codes")
    metrics = train_dynamics(stage, CONFIG, tmp_path / "m").metrics
    learned_map = read(tmp_path / "m" / "learned_map", kind="learned_map")
    assert learned_map.metrics["step"] == 2
    assert learned_map.metrics["data"] == data.fingerprint
    assert learned_map.metrics["held_out"].keys() >= {"error_next", "error_next_copied"}
    assert learned_map.config["tokenizer"] == tokenizer.fingerprint()
    assert (tmp_path / "m" / "learned_map" / "sheet.png").stat().st_size > 0
    assert metrics.keys() >= {"nats", "nats_without_map", "action_gap", "action_gap_without_map"}
    simulator = Simulator.from_pretrained(tmp_path / "m")
    assert simulator.has_map
    assert isinstance(simulator.learned_map, LearnedMap)
    assert torch.equal(simulator.learned_map.code_appearance, simulator.dynamics.code_appearance)
    assert not [name for name in read(tmp_path / "m", kind="dynamics").tensors if "motion_model" in name]


def test_stopping_anywhere_and_resuming_is_not_stopping(tmp_path: Path) -> None:
    """A run that ended within its map, or right after it, goes on to the same bits."""
    data, tokenizer = world(tmp_path)

    def stage(config: TrainingConfig) -> DynamicsStage:
        return stage_of(data, tokenizer, config, tmp_path / "codes")

    whole = dataclasses.replace(CONFIG, steps=4, map_steps=4, cooldown=0.0)
    train_dynamics(stage(whole), whole, tmp_path / "whole")
    # Within the map: its state is there, the rest's is not.
    for out, before in (("within", 2), ("after", 4)):
        first = stage(whole)
        assert first.map_run is not None
        first.set_code_appearance()
        part = dataclasses.replace(first.map_run.training, steps=before)
        train(first.map_run.stage(), part, tmp_path / out / "learned_map")
        train_dynamics(stage(whole), whole, tmp_path / out, resume=True)
        for below in (".", "learned_map"):
            want, got = (read(tmp_path / o / below / "training", kind="training").tensors for o in ("whole", out))
            unequal = [name for name in want if not torch.equal(want[name], got[name])]
            assert not unequal, (out, below, unequal)
    # Once the rest has begun, the map stays as it is.
    longer = dataclasses.replace(whole, steps=6)
    train_dynamics(stage(longer), longer, tmp_path / "whole", resume=True)
    assert read(tmp_path / "whole" / "learned_map", kind="learned_map").metrics["step"] == 4


def test_a_known_map_is_kept(tmp_path: Path) -> None:
    """A run that starts from another takes its map as well; one of other sizes is trained, and so is it if asked."""
    data, tokenizer = world(tmp_path)
    train_dynamics(stage_of(data, tokenizer, CONFIG, tmp_path / "codes"), CONFIG, tmp_path / "first")
    known = dataclasses.replace(CONFIG, init=str(tmp_path / "first"))
    train_dynamics(stage_of(data, tokenizer, known, tmp_path / "codes"), known, tmp_path / "second")
    assert not (tmp_path / "second" / "learned_map" / "training").exists()
    first, second = (read(tmp_path / run / "learned_map", kind="learned_map") for run in ("first", "second"))
    assert first.metrics == second.metrics
    for name in ("recognition.summary.weight", "extent", "field.walls", "motion_model.thrust"):
        assert torch.equal(first.tensors[name], second.tensors[name])
        assert first.tensors[name].any()  # the motion model was fitted before the first step
    again = stage_of(data, tokenizer, dataclasses.replace(known, train_map=True), tmp_path / "codes").map_run
    other = stage_of(data, tokenizer, known, tmp_path / "codes", colour_dim=48).map_run
    assert again is not None
    assert other is not None
    for run, is_known in ((again, True), (other, False)):
        assert run.is_open
        assert (run.fit_steps == 0) is is_known
        state = run.learned_map.state_dict()
        for name in ("recognition.summary.weight", "motion_model.thrust"):
            assert torch.equal(state[name], first.tensors[name]) is is_known


def test_a_known_map_keeps_its_bounds(tmp_path: Path) -> None:
    """A run on other recordings keeps the bounds that its map was learnt within."""
    data, tokenizer = world(tmp_path)
    train_dynamics(stage_of(data, tokenizer, CONFIG, tmp_path / "codes"), CONFIG, tmp_path / "first")
    other = EpisodeDataset(record_toy(tmp_path / "other", episodes=2))
    again = dataclasses.replace(CONFIG, init=str(tmp_path / "first"), train_map=True)
    runs = [stage_of(other, tokenizer, config, tmp_path / "other-codes").map_run for config in (again, CONFIG)]
    want = read(tmp_path / "first" / "learned_map", kind="learned_map").tensors["extent"]
    assert [torch.equal(run.learned_map.extent, want) for run in runs if run is not None] == [True, False]


def test_a_finished_run_is_not_begun_again(tmp_path: Path) -> None:
    """Without --resume nothing of a run is touched, its map included."""
    data, tokenizer = world(tmp_path)
    train_dynamics(stage_of(data, tokenizer, CONFIG, tmp_path / "codes"), CONFIG, tmp_path / "m")
    with pytest.raises(ValueError, match="already holds a training run"):
        train_dynamics(stage_of(data, tokenizer, CONFIG, tmp_path / "codes"), CONFIG, tmp_path / "m")


def test_a_data_set_without_poses_is_refused(tmp_path: Path) -> None:
    """Unless the dynamics is to be trained without a map, and has none then."""
    data, tokenizer = world(tmp_path)
    data.info = dataclasses.replace(data.info, variables=("position_x",))
    with pytest.raises(ValueError, match="does not record position_y, angle"):
        stage_of(data, tokenizer, CONFIG, tmp_path / "codes")
    train_dynamics(make_stage(data, tokenizer, CONFIG, tmp_path / "codes"), CONFIG, tmp_path / "m")
    assert not (tmp_path / "m" / "learned_map").exists()
    assert not Simulator.from_pretrained(tmp_path / "m").has_map


def test_without_poses_the_map_follows_the_frames(tmp_path: Path) -> None:
    """A map that is known is of use on recordings that tell no pose: it finds out from frames and actions."""
    learned_map = tiny_map()
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(16, (2, 4, 8, 8), generator=generator)
    actions = torch.randint(4, (2, 4), generator=generator)
    expectations = MapExpectations(learned_map, None)
    found = expectations([(0, 0), (1, 0)], codes, actions, num_real=2, generator=generator)
    assert torch.equal(found.image, learned_map.follow(codes, actions, num_real=2).image)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_poses_that_are_no_numbers_are_refused(value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pose of NaN is said with its name, episode and frame before anything is encoded; without a map it is unread."""
    data, tokenizer = world(tmp_path)
    file = data.path / data.records[1].file
    table = pq.read_table(file)
    values = table["position_y"].to_numpy().copy()
    values[7] = value
    place = table.column_names.index("position_y")
    pq.write_table(table.set_column(place, table.schema.field(place), pa.array(values)), file, row_group_size=16)
    data = EpisodeDataset(data.path)
    with pytest.raises(ValueError, match=r"episode-000001.*: position_y is not finite in frame 7; .*learned_map=no"):
        stage_of(data, tokenizer, CONFIG, tmp_path / "codes")
    assert not (tmp_path / "codes").exists()
    make_stage(data, tokenizer, CONFIG, tmp_path / "codes")


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


def test_views_after_the_last_look_depend_on_actions_alone() -> None:
    """Views do not depend on what is not looked at, but on what was seen."""
    model = LearnedMapTrainer(tiny_map())
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(16, (2, 4, 8, 8), generator=generator)
    actions = torch.randint(4, (2, 4), generator=generator)
    usual = model.views(codes, actions, num_real=2)
    codes[:, 2:] = (codes[:, 2:] + 1) % 16
    assert torch.equal(model.views(codes, actions, num_real=2), usual)
    codes[:, 1] = (codes[:, 1] + 1) % 16
    assert not torch.equal(model.views(codes, actions, num_real=2)[:, 1:], usual[:, 1:])


def test_misplacement_is_in_the_games_units() -> None:
    """Distances grow with the map, and a full turn away is no turn."""
    model = LearnedMapTrainer(tiny_map())
    generator = torch.Generator().manual_seed(0)
    views = torch.randn(2, 4, 4, generator=generator)
    model.learned_map.set_bounds(torch.tensor([-300.0, 0.0]), torch.tensor([100.0, 400.0]))  # 200 units are 1
    true = torch.cat([(views[..., :2] + 0.03) * 200 + torch.tensor([-100.0, 200.0]), views[..., 2:3]], dim=-1)
    true[..., 2] = true[..., 2] * 180 / math.pi + 360 + 5
    distances, angles = model.misplaced(views, true)
    torch.testing.assert_close(distances, torch.full((2, 4), 6 * 2**0.5), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(angles, torch.full((2, 4), 5.0), atol=1e-3, rtol=1e-3)


def test_what_is_to_be_rendered_is_what_the_codes_look_like() -> None:
    """A field that rendered every block as its code looks has no error; one that is a constant off has its square."""
    model = LearnedMapTrainer(tiny_map())
    codes = torch.randint(16, (3, 8, 8), generator=torch.Generator().manual_seed(0))
    field = model.learned_map.field
    whole = field.blocks(model.learned_map.images(codes.unsqueeze(1))[:, 0])
    frame = torch.arange(3)[:, None, None]
    for off in (0.0, 0.5):
        shown = lambda views, columns, rows, generator, off=off: whole[frame, columns.unsqueeze(-1), rows] + off  # noqa: E731
        field.forward = shown  # type: ignore[method-assign,assignment]
        error = model._rendering_error(codes, torch.zeros(3, 4), torch.Generator().manual_seed(1))
        assert float(error) == pytest.approx(off**2, abs=1e-6)


@pytest.mark.slow
def test_a_world_that_repeats_is_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a room known from other episodes, the map finds out where it is, and what comes, also in imagination."""
    monkeypatch.setattr(learned_map_module, "HELD_OUT_CLIPS", 8)
    data = EpisodeDataset(record_room(tmp_path / "data", episodes=100))
    tokenizer = train_tokenizer(data, tmp_path / "t", steps=300)
    config = dataclasses.replace(CONFIG, steps=400, map_steps=400, flow_steps=300)
    stage = stage_of(data, tokenizer, config, tmp_path / "codes", colour_dim=48)
    assert stage.map_run is not None
    stage.set_code_appearance()
    training = dataclasses.replace(stage.map_run.training, learning_rate=3e-3)
    figures = train(stage.map_run.stage(), training, tmp_path / "b").metrics
    assert figures["error_next"] < 0.7 * figures["error_next_copied"]
    assert figures["error_imagined"] < 0.7 * figures["error_imagined_copied"]
    assert figures["median_angle_next"] < 5
    assert figures["median_angle_imagined"] < 5
    assert figures["median_distance_next"] < 0.2 * ROOM[0]
    assert figures["median_distance_imagined"] < 0.2 * ROOM[0]
