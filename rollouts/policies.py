"""Who plays while a data set is recorded: sticky random, and an explorer that covers the map without hugging walls."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

POLICIES = ("explore", "sticky", "random")

# How often the sticky policy chooses an action; any other name weighs as much as `noop`.
WEIGHTS = {"forward": 3.0, "forward+left": 1.5, "forward+right": 1.5, "left": 1.5, "right": 1.5}
# The same for the explorer's short holds: turns come often enough on its way, steps aside find a wall too often.
SHORT_WEIGHTS = {"strafe_left": 3.0, "strafe_right": 3.0, "left": 0.6, "right": 0.6}
SIDES = ("left", "right")
CELL = 32.0  # map units; a step at full speed is 25
PLAYER_RADIUS = 15.0  # map units; ViZDoom's player has 16, and slides along what it touches
STOP_DISTANCE = 56.0  # map units: the player's radius and the way of two steps
MAX_LEG = 400.0  # map units
WALL_SHARE = 0.2  # of the short holds against a wall are held all the same: what a wall does must be learnt, too
BLOCKED = 4.0  # map units: a step into a wall moves less, the first step from rest moves 7


class Policy(Protocol):
    """Chooses the next action of one episode."""

    def act(self, variables: Mapping[str, float]) -> int:
        """Return the index of the action to do after the frame that `variables` belong to."""


def make_policy(name: str, action_names: Sequence[str], rng: np.random.Generator, *, walls: np.ndarray) -> Policy:
    """Return the policy `name` for one episode.

    `explore` needs walls and the actions to walk between them; in a game without these it plays `sticky`.

    Args:
        walls: of the game's map, float64 (n, 4), line segments x1 y1 x2 y2; n = 0 where there is no map.

    Raises:
        ValueError: if there is no such policy.
    """
    if name not in POLICIES:
        raise ValueError(f"no policy named {name!r} (policies: {', '.join(POLICIES)})")
    if name == "random":
        return RandomPolicy(action_names, rng)
    if name == "explore" and len(walls) and {"forward", "left", "right"} <= set(action_names):
        return ExplorePolicy(action_names, rng, walls=walls)
    return StickyPolicy(action_names, rng)


class RandomPolicy:
    """Each action with the same probability, anew at every step."""

    def __init__(self, action_names: Sequence[str], rng: np.random.Generator) -> None:
        self._count = len(action_names)
        self._rng = rng

    def act(self, variables: Mapping[str, float]) -> int:
        """Return any action."""
        return int(self._rng.integers(self._count))


class StickyPolicy:
    """Random actions, each held for a few steps; turns away when a held action moves nothing."""

    def __init__(self, action_names: Sequence[str], rng: np.random.Generator) -> None:
        self._names = tuple(action_names)
        self._rng = rng
        weights = np.array([WEIGHTS.get(name, 1.0) for name in self._names])
        self._probabilities = weights / weights.sum()
        self._variables: Mapping[str, float] = {}
        self._moved = math.inf
        self._actions = self.play()

    def act(self, variables: Mapping[str, float]) -> int:
        """Return the next action of the plan."""
        if "position_x" in variables and self._variables:
            self._moved = math.dist(_position(variables), _position(self._variables))
        self._variables = variables
        return self._names.index(next(self._actions))

    def play(self) -> Iterator[str]:
        """Yield action names for ever."""
        while True:
            yield from self.wander(steps=32)

    def wander(self, *, steps: int) -> Iterator[str]:
        """Random actions, held for a geometric time of 4 steps in the mean."""
        while steps > 0:
            name = self._names[int(self._rng.choice(len(self._names), p=self._probabilities))]
            for _ in range(int(self._rng.geometric(0.25))):
                yield name
                steps -= 1
                if self.is_blocked(name):
                    yield from self.turn_away()
                    break

    def is_blocked(self, name: str) -> bool:
        """Whether the last step, `name`, was a walk into a wall."""
        return moves(name) and self._moved < BLOCKED

    def turn_away(self) -> Iterator[str]:
        """Turn by 60 to 160 degrees, to either side."""
        side = SIDES[int(self._rng.integers(2))]
        if side in self._names:
            for _ in range(int(self._rng.integers(5, 13))):
                yield side


class ExplorePolicy(StickyPolicy):
    """Walks through the least visited directions of a map whose walls it knows; in between it shows every action."""

    def __init__(self, action_names: Sequence[str], rng: np.random.Generator, *, walls: np.ndarray) -> None:
        super().__init__(action_names, rng)
        self._walls = walls
        self._visits: Counter[tuple[int, int]] = Counter()
        self._curves = [name for name in ("forward+left", "forward+right") if name in self._names]
        weights = np.array([SHORT_WEIGHTS.get(name, 1.0) for name in self._names])
        self._short = weights / weights.sum()

    def act(self, variables: Mapping[str, float]) -> int:
        """Return the next action of the plan, and remember the place."""
        self._visits[_cell(*_position(variables))] += 1
        return super().act(variables)

    def play(self) -> Iterator[str]:
        """Yield from the behaviours in random turn; their chances and lengths fix the action histogram."""
        while True:
            for _ in range(int(self._rng.integers(1, 4))):
                yield from self.leg()
            behaviour = self._rng.random()
            if behaviour < 0.1:
                yield from self.wander(steps=int(self._rng.integers(6, 24)))
            elif behaviour < 0.94:
                yield from self.short_holds(count=int(self._rng.integers(8, 17)))
            else:
                yield from self.spin()

    def short_holds(self, *, count: int) -> Iterator[str]:
        """Random actions for 1 to 4 steps each: what each action does, from everywhere."""
        for _ in range(count):
            name = self._names[int(self._rng.choice(len(self._names), p=self._short))]
            for _ in range(int(self._rng.integers(1, 5))):
                if not self._is_open(name) and self._rng.random() > WALL_SHARE:
                    break
                yield name

    def spin(self) -> Iterator[str]:
        """Turn on the spot, up to a full circle."""
        side = SIDES[int(self._rng.integers(2))]
        for _ in range(int(self._rng.integers(6, 28))):
            yield side

    def leg(self) -> Iterator[str]:
        """Turn to where most is new and walk there in a straight line, until a wall is near."""
        heading = self._best_heading()
        while abs(error := _turn(self._variables["angle"], heading)) > 10:
            yield "left" if error > 0 else "right"
        for _ in range(int(self._rng.integers(6, 24))):
            if self._clearance(heading) < STOP_DISTANCE:
                return
            yield self._steer(_turn(self._variables["angle"], heading))

    def _steer(self, error: float) -> str:
        """Walk towards the heading; look around a little on the way."""
        if len(self._curves) < 2:
            return "forward"
        if abs(error) > 9:
            return self._curves[0] if error > 0 else self._curves[1]
        return "forward" if self._rng.random() < 0.7 else self._curves[int(self._rng.integers(2))]

    def _best_heading(self) -> float:
        """Return the heading with the most new cells on the way; a smaller turn is preferred."""
        headings = self._rng.uniform(0, 360, size=24)
        turns = np.abs((headings - self._variables["angle"] + 180) % 360 - 180)
        promises = np.array([self._promise(heading) for heading in headings])
        return float(headings[int(np.argmax(promises / (1 + turns / 60) * self._rng.uniform(0.5, 1, size=24)))])

    def _promise(self, heading: float) -> float:
        """How much new there is along a heading, as far as one can walk."""
        x, y = _position(self._variables)
        dx, dy = math.cos(math.radians(heading)), math.sin(math.radians(heading))
        cells = int(min(self._clearance(heading), MAX_LEG) / CELL)
        return sum(1 / (1 + self._visits[_cell(x + n * CELL * dx, y + n * CELL * dy)]) for n in range(1, cells + 1))

    def _is_open(self, name: str) -> bool:
        """Whether `name` leads anywhere: a step of it would not end at a wall."""
        if not moves(name):
            return True
        side = {"strafe_left": 90, "strafe_right": -90}.get(name, 0)
        return self._clearance(self._variables["angle"] + side) > STOP_DISTANCE

    def _clearance(self, heading: float) -> float:
        """How far the centre of the player can go along a heading before the nearest wall."""
        return clearance(self._walls, _position(self._variables), heading)


def clearance(walls: np.ndarray, position: tuple[float, float], heading: float) -> float:
    """Return the way from `position` along `heading` (degrees) to the nearest wall, as wide as the player is.

    Args:
        walls: float64 (n, 4), the line segments x1 y1 x2 y2.
    """
    angle = math.radians(heading)
    ahead = np.array([math.cos(angle), math.sin(angle)])
    aside = np.array([-ahead[1], ahead[0]])
    # In the player's own axes, the part of each wall within the player's width, and how near it comes.
    start, stop = walls[:, :2] - position, walls[:, 2:] - position
    side = np.stack([start @ aside, stop @ aside])
    depth = np.stack([start @ ahead, stop @ ahead])
    span = np.where(side[0] == side[1], 1.0, side[1] - side[0])
    inside = np.clip((np.array([[-PLAYER_RADIUS], [PLAYER_RADIUS]]) - side[0]) / span, 0, 1)
    crosses = (side.min(axis=0) < PLAYER_RADIUS) & (side.max(axis=0) > -PLAYER_RADIUS)
    depths = depth[0] + inside * (depth[1] - depth[0])
    near = depths[:, crosses & (depths.min(axis=0) > 0)]
    return float(near.min()) if near.size else math.inf


def moves(name: str) -> bool:
    """Whether an action is meant to move the player."""
    return any(word in name for word in ("forward", "back", "strafe"))


def _position(variables: Mapping[str, float]) -> tuple[float, float]:
    return variables["position_x"], variables["position_y"]


def _cell(x: float, y: float) -> tuple[int, int]:
    return math.floor(x / CELL), math.floor(y / CELL)


def _turn(angle: float, heading: float) -> float:
    """Return the turn from `angle` to `heading` in degrees, in -180..180; positive is to the left."""
    return (heading - angle + 180) % 360 - 180
