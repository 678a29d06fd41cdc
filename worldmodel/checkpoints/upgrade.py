"""Checkpoints of schema 1, read as those of the present layout.

In schema 1 a dynamics checkpoint held its learned map, settings and weights had other names. Nothing here writes; a
checkpoint that is saved again, or converted by `worldmodel convert`, has the present layout.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1  # that is upgraded
MAP = "belief."  # how the names of a learned map's weights began

DYNAMICS_SETTINGS = {  # old name -> new name
    "gaze_layers": "attention_bias_layers",
    "cell": "code_pixels",
    "motion_layer": "flow_layer",
    "motion_dim": "flow_hidden_dim",
    "carried_dim": "flow_dim",
    "pose": "expectation",
    "max_corruption": "max_context_noise",
}
MAP_SETTINGS = {
    "action_names": "action_names",
    "frame_skip": "tics_per_step",
    "code_grid": "code_grid",
    "codebook_size": "codebook_size",
    "code_dim": "code_dim",
    "cell": "code_pixels",
    "belief_dim": "memory_dim",
    "field_dim": "colour_dim",
    "field_grid": "map_grid",
    "trust": "logit_precision",
    "max_corruption": "max_context_noise",
    "action_dropout": "action_dropout",
    "tokenizer": "tokenizer",
}
ONLY_OF_MAP = ("belief_dim", "field_dim", "field_grid", "trust")

# Of --set in training commands: what scripts written for earlier versions say.
FORMER_SETTINGS = {old: new for old, new in DYNAMICS_SETTINGS.items() if old != "pose"}
FORMER_SETTINGS |= {name: MAP_SETTINGS[name] for name in ONLY_OF_MAP}
FORMER_SETTINGS |= {"motion_steps": "flow_steps", "belief_steps": "map_steps", "belief_share": "map_share"}
FORMER_SETTINGS |= {"dreams": "self_rollouts", "train_belief": "train_map"}
FORMER_VALUES = {"pose=false": "learned_map=no", "pose=true": "learned_map=yes"}

DYNAMICS_WEIGHTS = (  # pattern -> replacement, in this order
    (r"^appearances$", "code_appearance"),
    (r"\.gaze\.", ".action_bias."),
    (r"^context\.corruption$", "context.noise"),
    (r"^context\.motion\.", "context.flow."),
    (r"\.carried\.", ".from_flow."),
    (r"^decoder\.head\.alone\.", "decoder.head.auxiliary."),
)
MAP_WEIGHTS = (
    (r"^(columns|place|heading|actions)\b", r"recognition.\1"),
    (r"^halve\.", "recognition.downsample."),
    (r"^seen\.", "recognition.summary."),
    (r"^remember\.", "recognition.recurrent."),
    (r"^think\.", "recognition.hidden."),
    (r"^ego_motion\.turn$", "motion_model.yaw"),
    (r"^ego_motion\.turns$", "motion_model.yaw_by_history"),
    (r"^ego_motion\.pushes$", "motion_model.thrust"),
    (r"^ego_motion\.glide$", "motion_model.drag_logit"),
    (r"^ego_motion\.still$", "motion_model.stop_speed"),
    (r"^ego_motion\.walls\.", "motion_model.collision."),
    (r"^field\.sway\.", "view_bob.network."),
)


def upgraded_config(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a checkpoint of schema 1 by their present names.

    A learned map's are taken from its dynamics checkpoint.
    """
    if kind == "learned_map":
        return {new: config[old] for old, new in MAP_SETTINGS.items() if old in config}
    if kind == "dynamics":
        kept = {name: value for name, value in config.items() if name not in ONLY_OF_MAP}
        return {DYNAMICS_SETTINGS.get(name, name): value for name, value in kept.items()}
    return dict(config)


def upgraded_weights(kind: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a checkpoint of schema 1 by their present names.

    Raises:
        ValueError: for the state of a training run of a dynamics, which cannot go on with other names.
    """
    if kind == "learned_map":
        own = {name.removeprefix(MAP): tensor for name, tensor in tensors.items() if name.startswith(MAP)}
        codes = {"code_vectors": tensors["code_vectors"], "code_appearance": tensors["appearances"]}
        return _renamed(own, MAP_WEIGHTS) | codes
    if kind == "dynamics":
        own = {name: tensor for name, tensor in tensors.items() if not name.startswith(MAP)}
        return _renamed(own, DYNAMICS_WEIGHTS)
    if kind == "training" and any(name.startswith("model.context.motion.") for name in tensors):
        raise ValueError(
            "this run was begun by an earlier version and cannot be resumed; begin a new one from its checkpoint "
            "with --set init=DIR"
        )
    return dict(tensors)


def upgraded_assignment(text: str) -> str:
    """Return a `name=value` of a training command by its present name."""
    name, equals, value = text.partition("=")
    return FORMER_VALUES.get(text, FORMER_SETTINGS.get(name, name) + equals + value)


def has_map(config: Mapping[str, Any]) -> bool:
    """Return whether a dynamics checkpoint of schema 1 with these settings holds a learned map."""
    return bool(config.get("pose"))


def _renamed(tensors: Mapping[str, Tensor], patterns: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in patterns:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed
