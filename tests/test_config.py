"""Configs that come from a file: types and sizes are judged before a model is built."""

from __future__ import annotations

from typing import Any

import pytest

from worldmodel.config import DynamicsConfig, TokenizerConfig, check_size, from_dict, to_dict

DYNAMICS = DynamicsConfig(action_names=("noop", "forward"), frame_skip=4, frames_per_second=8.75)


def test_the_round_trip_is_the_identity() -> None:
    """Through JSON and back every setting is the same, tuples included."""
    for config in (TokenizerConfig(), DYNAMICS):
        assert from_dict(type(config), to_dict(config)) == config
    assert from_dict(DynamicsConfig, to_dict(DYNAMICS) | {"frames_per_second": 9}).frames_per_second == 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_dim": True}, "hidden_dim must be a whole number, got True"),
        ({"hidden_dim": 1.5}, "hidden_dim must be a whole number"),
        ({"hidden_dim": "96"}, "hidden_dim must be a whole number"),
        ({"hidden_dim": None}, "hidden_dim must be a whole number"),
        ({"codebook": 3}, "codebook must be a short printable text"),
        ({"codebook": "\x1b[2J"}, "codebook must be a short printable text"),
        ({"num_residual_blocks": 10_000_000}, "num_residual_blocks must be at most 256"),
        ({"codebook_size": 10**30}, "codebook_size must be at most 65536"),
        ({"ema_decay": float("nan")}, "ema_decay must be at most 1e"),
        ({"ema_decay": 10**400}, "ema_decay must be at most 1e"),
        ({"no_such": 1}, "unknown settings for TokenizerConfig: no_such"),
    ],
)
def test_a_tokenizers_config_is_judged(change: dict[str, Any], message: str) -> None:
    """Each wrong type or size is named with its bound, in one line."""
    with pytest.raises(ValueError, match=message):
        from_dict(TokenizerConfig, to_dict(TokenizerConfig()) | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context_layers": 1_000_000}, "context_layers must be at most 256"),
        ({"frame_skip": 10**12}, "frame_skip must be at most 1e"),
        ({"window": 2**70}, "window must be at most 4096"),
        ({"frames_per_second": 1e308}, "frames_per_second must be at most 10000"),
        ({"head_dim": 0}, "head_dim must be above 0"),
        ({"action_names": "noop"}, "action_names must be a list"),
        ({"action_names": ["noop", 3]}, "action_names must be a list"),
        ({"action_names": ["[2J\x1b"]}, "action_names must be a list"),
        ({"action_names": ["a"] * 2000}, "action_names must be a list"),
        ({"action_names": []}, "at least one action"),
    ],
)
def test_a_dynamics_config_is_judged(change: dict[str, Any], message: str) -> None:
    """The same for numbers that no model has and names that no terminal should obey."""
    with pytest.raises(ValueError, match=message):
        from_dict(DynamicsConfig, to_dict(DYNAMICS) | change)


def test_a_run_may_be_long() -> None:
    """Bounds on a command line are those of sizes alone: a run of a billion steps is none."""
    check_size("steps", 10**9)
    with pytest.raises(ValueError, match="decoder_layers must be at most 256, got 257"):
        check_size("decoder_layers", 257)
