"""A room that is the same in every episode, with a player who has inertia: a world that a learned map can know."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.envs import Game, Observation, Step
from worldmodel.rollouts import CollectConfig, Goal, collect

ROOM = (100.0, 75.0)  # half of it
EYE, ROOF = 40.0, 60.0  # above the floor, and from there to the ceiling
PANEL, TILE = 50.0, 50.0  # of one colour
PUSH, KEPT, SLOW, FAST = 0.13, 0.9, 0.1, 0.2  # units a tic, share of the speed, and radians a step
ACTIONS = ("noop", "forward", "left", "right")
STEPS = 150  # an episode


class RoomGame:
    """A box with walls of coloured panels, drawn by casting a ray for each column. The field of view is 90 degrees."""

    action_names = ACTIONS
    frames_per_second = 8.75

    def __init__(self, config: CollectConfig) -> None:
        self.size, self.tics = config.frame_size, config.frame_skip or 4
        self.settings: Mapping[str, Any] = {
            "env": "room",
            "engine": "room 1",
            "frame_size": self.size,
            "frame_skip": self.tics,
            "action_names": list(ACTIONS),
        }
        rng = np.random.default_rng(0)
        self._panels = rng.choice([40, 128, 216], (4, 1 + int(2 * ROOM[0] / PANEL), 3)).astype(np.uint8)

    def reset(self, seed: int) -> Observation:
        rng = np.random.default_rng(seed)
        self._place, self._speed = 0.9 * rng.uniform(-1, 1, 2) * ROOM, np.zeros(2)
        self._angle, self._held, self._steps = rng.uniform(0, 2 * math.pi), 0, 0
        return Observation(frame=self._frame(), variables=self._variables())

    def step(self, action: int) -> Step:
        name = ACTIONS[action]
        self._held = self._held + 1 if name in ("left", "right") else 0
        turned = {"left": 1, "right": -1}.get(name, 0) * (SLOW if self._held == 1 else FAST)
        for _ in range(self.tics):
            self._angle += turned / self.tics
            if name == "forward":
                self._speed = self._speed + PUSH * np.array([math.cos(self._angle), math.sin(self._angle)])
            self._speed = np.where(np.abs(self._place + self._speed) < ROOM, self._speed, 0.0)
            self._place, self._speed = self._place + self._speed, self._speed * KEPT
        self._steps += 1
        return Step(
            frame=self._frame(),
            reward=0.0,
            terminated=False,
            truncated=self._steps >= STEPS,
            variables=self._variables(),
        )

    def close(self) -> None:
        """Nothing to release."""

    def _variables(self) -> dict[str, float]:
        x, y = self._place
        return {"position_x": x, "position_y": y, "angle": math.degrees(self._angle) % 360}

    def _frame(self) -> np.ndarray:
        across = (np.arange(self.size) + 0.5) / (self.size / 2) - 1  # also up and down
        ways = self._angle - np.arctan(across)
        way = np.stack([np.cos(ways), np.sin(ways)])  # 2 columns
        ends = (np.sign(way).T * ROOM - self._place).T / way  # how far it is to the wall across each axis
        axis = ends.argmin(0)
        far = ends.min(0)
        at = self._place[:, None] + far * way
        along = np.where(axis == 0, at[1] + ROOM[1], at[0] + ROOM[0])
        wall = self._panels[2 * axis + (np.take_along_axis(way, axis[None], 0)[0] > 0), (along / PANEL).astype(int)]
        ahead = np.cos(np.arctan(across))
        up = -across[:, None]  # a slope: (rows 1)
        height = up * far * ahead
        reach = np.where(up < 0, -EYE, ROOF) / up / ahead  # where the line of sight meets the floor or the ceiling
        there = self._place[:, None, None] + way[:, None] * reach
        tile = np.floor(there / TILE).astype(int).sum(0) % 2
        plane = np.where((up < 0)[..., None], np.array([70, 60, 50]) + 60 * tile[..., None], np.array([20, 30, 90]))
        seen = np.where(((height > -EYE) & (height < ROOF))[..., None], wall[None], plane)
        return seen.astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class RoomConfig(CollectConfig):
    """Records the room, whatever is named."""

    def make_game(self, *, patience: float = 1.0, own_process: bool = True) -> Game:
        return RoomGame(self)


def record_room(path: Path, *, episodes: int) -> Path:
    """Record the room at the size and frame skip of the tiny models, wandering."""
    collect(RoomConfig(env="toy", frame_size=32, policy="sticky"), path, goal=Goal(episodes=episodes))
    return path
