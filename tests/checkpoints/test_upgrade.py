"""Checkpoints of schema 1 read as those of the present layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.worlds import save_simulator
from worldmodel.checkpoints.checkpoint import has_part, read, read_index
from worldmodel.checkpoints.upgrade import upgraded_assignment, upgraded_config, upgraded_weights
from worldmodel.config import DynamicsConfig, from_dict
from worldmodel.learned_map.config import LearnedMapConfig
from worldmodel.simulator import PRETRAINED, Simulator

OLD = {  # settings of schema 1
    "action_names": ["noop"],
    "frame_skip": 4,
    "frames_per_second": 8.75,
    "gaze_layers": 2,
    "cell": 3,
    "motion_layer": 1,
    "motion_dim": 5,
    "carried_dim": 6,
    "pose": True,
    "belief_dim": 7,
    "trust": [0.25, 6.0],
    "field_dim": 8,
    "field_grid": 9,
    "max_corruption": 0.2,
    "action_dropout": 0.3,
    "tokenizer": "abc",
}


def test_settings_have_their_present_names() -> None:
    """Each goes to the dynamics, to the map, or to both, and every one is known there."""
    dynamics, learned_map = (upgraded_config(kind, OLD) for kind in ("dynamics", "learned_map"))
    assert dynamics.pop("tokenizer") == learned_map.pop("tokenizer") == "abc"
    config = from_dict(DynamicsConfig, dynamics)
    assert (config.attention_bias_layers, config.code_pixels, config.flow_hidden_dim, config.flow_dim) == (2, 3, 5, 6)
    assert config.expectation
    assert config.max_context_noise == 0.2
    of_map = from_dict(LearnedMapConfig, learned_map)
    assert (of_map.tics_per_step, of_map.memory_dim, of_map.colour_dim, of_map.map_grid) == (4, 7, 8, 9)
    assert of_map.logit_precision == (0.25, 6.0)


def test_weights_have_their_present_names() -> None:
    """Those of the map go to the map, without their prefix; what both need is in both."""
    names = [
        "code_vectors",
        "appearances",
        "context.corruption",
        "context.blocks.0.gaze.table",
        "context.motion.camera",
        "context.carried.weight",
        "decoder.carried.weight",
        "decoder.head.carried.weight",
        "decoder.head.alone.bias",
        "decoder.features.bias",
        "belief.seen.bias",
        "belief.actions",
        "belief.place.bias",
        "belief.remember.bias_hh_l0",
        "belief.ego_motion.turn",
        "belief.ego_motion.turns",
        "belief.ego_motion.walls.free",
        "belief.field.sway.0.bias",
        "belief.field.walls",
        "belief.extent",
    ]
    old = {name: torch.tensor(float(i)) for i, name in enumerate(names)}
    assert sorted(upgraded_weights("dynamics", old)) == sorted(
        [
            "code_vectors",
            "code_appearance",
            "context.noise",
            "context.blocks.0.action_bias.table",
            "context.flow.camera",
            "context.from_flow.weight",
            "decoder.from_flow.weight",
            "decoder.head.from_flow.weight",
            "decoder.head.auxiliary.bias",
            "decoder.features.bias",
        ]
    )
    learned_map = upgraded_weights("learned_map", old)
    assert sorted(learned_map) == sorted(
        [
            "code_vectors",
            "code_appearance",
            "recognition.summary.bias",
            "recognition.actions",
            "recognition.place.bias",
            "recognition.recurrent.bias_hh_l0",
            "motion_model.yaw",
            "motion_model.yaw_by_history",
            "motion_model.collision.free",
            "view_bob.network.0.bias",
            "field.walls",
            "extent",
        ]
    )
    assert learned_map["motion_model.yaw_by_history"] == old["belief.ego_motion.turns"]


def test_an_old_run_cannot_be_resumed_and_says_so() -> None:
    """The state of its training has other names; its checkpoint can be started from."""
    with pytest.raises(ValueError, match="cannot be resumed"):
        upgraded_weights("training", {"model.context.motion.camera": torch.zeros(1)})
    state = {"model.encoder.weight": torch.zeros(1)}  # of a tokenizer
    assert upgraded_weights("training", state).keys() == state.keys()


@pytest.mark.parametrize("has_map", [False, True])
def test_parts_are_found_in_the_present_layout(tmp_path: Path, has_map: bool) -> None:
    """A checkpoint has a map if there is one in its folder."""
    save_simulator(tmp_path, has_map=has_map)
    assert has_part(tmp_path, "learned_map") is has_map
    assert Simulator.from_pretrained(tmp_path).has_map is has_map


def test_the_map_is_found_in_an_old_checkpoint(tmp_path: Path) -> None:
    """It lies within the files of the dynamics, and is read as if it had a folder of its own."""
    index = {"schema": 1, "kind": "dynamics", "config": OLD, "metrics": {}, "files": {}}
    (tmp_path / "config.json").write_text(json.dumps(index))
    assert has_part(tmp_path, "learned_map")
    assert read_index(tmp_path / "learned_map", kind="learned_map")["config"]["map_grid"] == 9
    assert "map_grid" not in read_index(tmp_path, kind="dynamics")["config"]
    (tmp_path / "config.json").write_text(json.dumps(index | {"config": OLD | {"pose": False}}))
    assert not has_part(tmp_path, "learned_map")
    with pytest.raises(ValueError, match="no learned_map checkpoint"):
        read(tmp_path / "learned_map", kind="learned_map")


def test_the_shipped_checkpoint_has_a_map() -> None:
    """Whatever layout it is in."""
    assert has_part(PRETRAINED, "learned_map")


@pytest.mark.parametrize(
    ("former", "present"),
    [
        ("motion_dim=16", "flow_hidden_dim=16"),
        ("field_grid=16", "map_grid=16"),
        ("motion_steps=0", "flow_steps=0"),
        ("pose=false", "learned_map=no"),
        ("clip=4", "clip=4"),
        ("no value", "no value"),
    ],
)
def test_settings_of_earlier_versions_are_understood(former: str, present: str) -> None:
    """A script's `--set` from before the names changed sets what is meant; present names stay as they are."""
    assert upgraded_assignment(former) == present
