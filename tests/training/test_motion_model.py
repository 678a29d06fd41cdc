"""The motion model is fitted to recorded walks alone."""

from __future__ import annotations

import dataclasses
import math
import signal

import numpy as np
import pytest
import torch

from tests.models import ACTION_NAMES, tiny_map
from worldmodel.learned_map.motion_model import HISTORY, MotionModel, last_step
from worldmodel.training.dynamics import DEFAULTS
from worldmodel.training.motion_model import STEPS, STEPS_A_MINUTE, fit_motion_model, fit_steps, walk_errors

TICS, PUSH, KEPT, SLOW, FAST = 4, 0.002, 0.9, 0.1, 0.2
ROOM = (0.4, 0.3)  # half of it


def fresh() -> MotionModel:
    torch.manual_seed(0)
    motion_model = MotionModel(dataclasses.replace(tiny_map().config, tics_per_step=TICS))
    motion_model.stop_speed.fill_(PUSH / 100)
    return motion_model


def recorded(number: int, *, steps: int = 60) -> tuple[list[torch.Tensor], list[np.ndarray]]:
    """Return walks of a player with inertia in a room, whose first turning step is slow: poses and actions."""
    rng = np.random.default_rng(0)
    tracks, actions = [], []
    for _ in range(number):
        place, speed = rng.uniform(-1, 1, 2) * ROOM, np.zeros(2)
        angle, held = rng.uniform(0, 2 * math.pi), 0
        poses, pressed = (
            [(*place, angle)],
            np.repeat(rng.integers(4, size=steps), rng.integers(1, 5, size=steps))[:steps],
        )
        for action in pressed:
            name = ACTION_NAMES[action]
            held = held + 1 if name in ("left", "right") else 0
            turned = (1 if name == "left" else -1) * (SLOW if held == 1 else FAST) if held else 0.0
            for _ in range(TICS):
                angle += turned / TICS
                if name == "forward":
                    speed = speed + PUSH * np.array([math.cos(angle), math.sin(angle)])
                speed = np.where(np.abs(place + speed) < ROOM, speed, 0.0)
                place, speed = place + speed, speed * KEPT
            poses.append((*place, angle))
        tracks.append(torch.tensor(poses, dtype=torch.float32))
        actions.append(pressed)
    return tracks, actions


def test_actions_drag_and_walls_are_found_from_walks() -> None:
    """Thrust and yaw of each action, drag, and where the room ends, the same every time."""
    tracks, actions = recorded(80)
    found = []
    for _ in range(2):
        motion_model = fresh()
        fit_motion_model(motion_model, tracks, actions, seed=0, steps=250)
        found.append(motion_model.state_dict())
    assert all(torch.equal(part, found[1][name]) for name, part in found[0].items())
    assert not any(key.requires_grad for key in motion_model.action_parameters)
    assert abs(motion_model.drag.item() - KEPT) < 0.003
    pushes = motion_model.thrust_step(torch.arange(4))
    forward = torch.tensor([name == "forward" for name in ACTION_NAMES])
    torch.testing.assert_close(pushes[forward], torch.tensor([[PUSH, 0.0]]), atol=0.02 * PUSH, rtol=0)
    assert pushes[~forward].abs().max() < 0.02 * PUSH
    left, right, ahead = (ACTION_NAMES.index(name) for name in ("left", "right", "forward"))
    pressed = torch.tensor([[ahead] * 4 + [left], [right] * 5, [ahead] * 5])
    torch.testing.assert_close(motion_model.yaw_step(pressed), torch.tensor([SLOW, -FAST, 0.0]), atol=0.005, rtol=0)
    # A player goes on standing where the next tic would lead into the wall: it is seen where he stands.
    lines = [across[across < 1] for across in motion_model.collision.lines]
    for line, end in zip(lines, ROOM, strict=True):
        torch.testing.assert_close(line[[0, -1]], torch.tensor([-end, end]), atol=0.004, rtol=0)
    middle = torch.tensor([0.0, 0.0])
    for axis, end in enumerate(ROOM):
        for side in (-1, 1):
            place = middle.clone()
            place[axis] = side * (end - 0.02)
            assert motion_model.collision.is_free(place.unsqueeze(0)).item()
            place[axis] = side * (end + 0.001)
            assert not motion_model.collision.is_free(place.unsqueeze(0)).item()


def test_walk_errors_are_of_dead_reckoning() -> None:
    """Errors are those of where all the steps lead, in their units, and of turns the shorter way round."""
    motion_model = fresh()
    pressed = torch.zeros(2, HISTORY + 1, dtype=torch.int64)
    poses = [torch.zeros(2, 3), torch.tensor([[0.01, 0.0, 0.0], [0.0, 0.02, 0.0]])]
    momenta = motion_model.momentum_between(poses[0], poses[1], pressed)
    for k in range(2):
        pose, momenta = motion_model(poses[-1], pressed[:, k : k + HISTORY], momenta)
        poses.append(pose)
    torch.testing.assert_close(momenta[:, :2], last_step(poses[2], poses[3]))
    right = torch.stack(poses, dim=1)
    assert walk_errors(motion_model, pressed, right).abs().max() < 1e-5
    away = right + torch.tensor([0.0, 0.0, 2 * math.pi]) * torch.tensor([0, 0, 1, 1]).view(1, 4, 1)
    assert walk_errors(motion_model, pressed, away).abs().max() < 1e-4
    away[:, 3, 1] -= 0.02
    torch.testing.assert_close(walk_errors(motion_model, pressed, away)[1, :, 1], torch.ones(2), atol=1e-4, rtol=0)


def test_a_signal_ends_the_fit() -> None:
    """An interrupted fit ends at once."""
    tracks, actions = recorded(2)
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        fit_motion_model(fresh(), tracks, actions, seed=0, steps=10**6, signals=[signal.SIGTERM])


def test_walks_too_short_teach_nothing() -> None:
    """Episodes shorter than the history of actions leave what is known as it is."""
    tracks, actions = recorded(2, steps=HISTORY - 1)
    motion_model = fresh()
    fit_motion_model(motion_model, tracks, actions, seed=0, steps=5)
    assert not motion_model.thrust.any()


def test_short_runs_fit_less() -> None:
    """A twentieth of the time at most; a long run fits to the end."""
    short, long = (dataclasses.replace(DEFAULTS, minutes=minutes) for minutes in (2.0, 1000.0))
    assert fit_steps(short) == 2 * STEPS_A_MINUTE
    assert fit_steps(long) == STEPS
    assert fit_steps(dataclasses.replace(long, flow_steps=7)) == 7
