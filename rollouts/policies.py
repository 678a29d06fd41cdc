"""Who plays while a data set is recorded: sticky random, and an explorer that covers the map without hugging walls."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from ..envs import Game
from ..envs.vizdoom.player import BLOCKED, FULL_SPEED, PLAYER_RADIUS, SLIDING, STOPPING, TICS, TURN_TOLERANCE
from . import own_policy

POLICIES = ("explore", "sticky", "random")

# How often the sticky policy chooses an action; any other name weighs as much as `noop`.
WEIGHTS = {"forward": 3.0, "forward+left": 1.5, "forward+right": 1.5, "left": 1.5, "right": 1.5}
# The same for the explorer's short holds: turns come often enough on its way, steps aside find a wall too often.
SHORT_WEIGHTS = {"strafe_left": 3.6, "strafe_right": 3.6, "left": 0.6, "right": 0.6}
SIDES = ("left", "right")
CELL = 32.0  # map units
MAX_LEG = 400.0  # map units
WALL_SHARE = 0.06  # of the short holds go on against a wall: what a wall does must be learnt, too


class Policy(Protocol):
    """Chooses the next action of one episode."""

    def act(self, variables: Mapping[str, float], *, frame: np.ndarray | None = None) -> int:
        """Return the index of the action to do after `frame`, uint8 (H, W, 3), to which `variables` belong."""


def shares(text: str) -> dict[str, float]:
    """Return policy -> how often it plays: `explore=0.7,random=0.3`, or one policy alone.

    Raises:
        ValueError: if there is no such policy, or a share is no positive number.
    """
    parts = [part.strip().partition("=") for part in text.split(",")]
    for name, _, _ in parts:
        if name not in POLICIES and not own_policy.is_own(name):
            known = ", ".join([*POLICIES, "module:function", "file.py:function", "model.zip"])
            raise ValueError(f"no policy named {name!r} (policies: {known})")
    found = {name: _share(share) if equals else 1.0 for name, equals, share in parts}
    if len(found) < len(parts) or not all(0 < share < math.inf for share in found.values()):
        raise ValueError(f"shares are positive numbers, each policy once, as in explore=0.7,random=0.3; got {text}")
    return found


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def make_policy(
    name: str,
    action_names: Sequence[str],
    rng: np.random.Generator,
    *,
    walls: np.ndarray,
    frame_skip: int = TICS,
    game: Game | None = None,
) -> Policy:
    """Return the policy for one episode; of a mixture it is drawn by its shares.

    `explore` needs walls and the actions to walk between them; in a game without these it plays `sticky`.

    Args:
        walls: of the game's map, float64 (n, 4), line segments x1 y1 x2 y2; n = 0 where there is no map.
        frame_skip: how many tics a step lasts.
        game: the game that is played, for a policy that looks at more than frames.

    Raises:
        ValueError: if there is no such policy.
    """
    mixture = shares(name)
    if len(mixture) > 1:
        weights = np.array(list(mixture.values()))
        name = list(mixture)[int(rng.choice(len(mixture), p=weights / weights.sum()))]
    else:
        name = next(iter(mixture))
    if own_policy.is_own(name):
        return own_policy.load(name, action_names, rng, game)
    if name == "random":
        return RandomPolicy(action_names, rng)
    if name == "explore" and len(walls) and {"forward", "left", "right"} <= set(action_names):
        return ExplorePolicy(action_names, rng, frame_skip=frame_skip, walls=walls)
    return StickyPolicy(action_names, rng, frame_skip=frame_skip)


class RandomPolicy:
    """Each action with the same probability, anew at every step."""

    def __init__(self, action_names: Sequence[str], rng: np.random.Generator) -> None:
        self._count = len(action_names)
        self._rng = rng

    def act(self, variables: Mapping[str, float], *, frame: np.ndarray | None = None) -> int:
        """Return any action."""
        return int(self._rng.integers(self._count))


class StickyPolicy:
    """Random actions, each held for a few steps; turns away when a held action moves nothing."""

    def __init__(self, action_names: Sequence[str], rng: np.random.Generator, *, frame_skip: int) -> None:
        self._names = tuple(action_names)
        self._rng = rng
        self._scale = frame_skip / TICS
        weights = np.array([WEIGHTS.get(name, 1.0) for name in self._names])
        self._probabilities = weights / weights.sum()
        self._variables: Mapping[str, float] = {}
        self._moved = math.inf
        self._actions = self.play()

    def act(self, variables: Mapping[str, float], *, frame: np.ndarray | None = None) -> int:
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
        return moves(name) and self._moved < BLOCKED * self._scale

    def turn_away(self) -> Iterator[str]:
        """Turn by 60 to 160 degrees, to either side."""
        side = SIDES[int(self._rng.integers(2))]
        if side in self._names:
            for _ in range(int(self._rng.integers(5, 13))):
                yield side


class ExplorePolicy(StickyPolicy):
    """Walks through the least visited directions of a map whose walls it knows; in between it shows every action."""

    def __init__(
        self, action_names: Sequence[str], rng: np.random.Generator, *, frame_skip: int, walls: np.ndarray
    ) -> None:
        super().__init__(action_names, rng, frame_skip=frame_skip)
        self._stop_distance = PLAYER_RADIUS + 1 + 2 * STOPPING * self._scale
        self._walls = walls
        self._visits = VisitMap(walls)
        self._curves = [name for name in ("forward+left", "forward+right") if name in self._names]
        weights = np.array([SHORT_WEIGHTS.get(name, 1.0) for name in self._names])
        self._short = weights / weights.sum()

    def act(self, variables: Mapping[str, float], *, frame: np.ndarray | None = None) -> int:
        """Return the next action of the plan, and remember the place."""
        self._visits.add(_position(variables))
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
            steps = int(self._rng.integers(1, 5))
            if moves(name) and self._rng.random() > WALL_SHARE:
                steps = min(steps, self._open_steps(name))
            for _ in range(steps):
                yield name

    def spin(self) -> Iterator[str]:
        """Turn on the spot, up to a full circle."""
        side = SIDES[int(self._rng.integers(2))]
        for _ in range(int(self._rng.integers(6, 28))):
            yield side

    def leg(self) -> Iterator[str]:
        """Turn to where most is new and walk there in a straight line, until a wall is near."""
        heading, way = self._best_heading()
        while abs(error := _turn(self._variables["angle"], heading)) > TURN_TOLERANCE * self._scale:
            yield "left" if error > 0 else "right"
        start, ahead = _position(self._variables), (math.cos(math.radians(heading)), math.sin(math.radians(heading)))
        for step in range(int(self._rng.integers(6, 24))):
            x, y = _position(self._variables)
            walked = (x - start[0]) * ahead[0] + (y - start[1]) * ahead[1]
            if way - walked < self._stop_distance or (step > 2 and self._moved < SLIDING * self._scale):
                return
            yield self._steer(_turn(self._variables["angle"], heading))

    def _steer(self, error: float) -> str:
        """Walk towards the heading; look around a little on the way."""
        if len(self._curves) < 2:
            return "forward"
        if abs(error) > 0.9 * TURN_TOLERANCE * self._scale:
            return self._curves[0] if error > 0 else self._curves[1]
        return "forward" if self._rng.random() < 0.7 else self._curves[int(self._rng.integers(2))]

    def _best_heading(self) -> tuple[float, float]:
        """Return the heading with the most new cells on its way, and the way's length; smaller turns are preferred."""
        position = _position(self._variables)
        headings = self._rng.uniform(0, 360, size=24)
        ways = clearance(self._walls, position, headings)
        turns = np.abs((headings - self._variables["angle"] + 180) % 360 - 180)
        promises = self._visits.novelty(position, headings, ways) / (1 + turns / 60)
        best = int(np.argmax(promises * self._rng.uniform(0.5, 1, size=24)))
        return float(headings[best]), float(ways[best])

    def _open_steps(self, name: str) -> int:
        """How many steps of `name` the player can do before it comes to a wall."""
        side = {"back": 180, "strafe_left": 90, "strafe_right": -90}.get(name, 0)
        way = clearance(self._walls, _position(self._variables), np.array([self._variables["angle"] + side]))[0]
        return max(0, math.ceil((min(way, MAX_LEG) - self._stop_distance) / (FULL_SPEED * self._scale)))


class VisitMap:
    """How often each cell of a map was visited in this episode."""

    def __init__(self, walls: np.ndarray) -> None:
        corners = walls.reshape(-1, 2)
        self._origin = (corners.min(axis=0) - CELL).tolist()
        self._visits = np.zeros(tuple(((np.ptp(corners, axis=0) + 3 * CELL) / CELL).astype(int)))

    def add(self, position: tuple[float, float]) -> None:
        """The player is here."""
        column, row = (int((place - origin) / CELL) for place, origin in zip(position, self._origin, strict=True))
        self._visits[max(0, min(column, len(self._visits) - 1)), max(0, min(row, len(self._visits[0]) - 1))] += 1

    def novelty(self, position: tuple[float, float], headings: np.ndarray, ways: np.ndarray) -> np.ndarray:
        """Return for each heading how many new cells lie along its way: one counts 1, one seen n times 1 / (1 + n)."""
        distances = np.arange(1, int(MAX_LEG / CELL) + 1) * CELL
        angles = np.radians(headings)[:, None]
        places = np.stack([position[0] + distances * np.cos(angles), position[1] + distances * np.sin(angles)], axis=-1)
        new: np.ndarray = 1 / (1 + self._visits[self._cells(places)])
        return (new * (distances < ways[:, None])).sum(axis=1)

    def _cells(self, places: np.ndarray) -> tuple[np.ndarray, ...]:
        cells = np.clip(((places - self._origin) / CELL).astype(int), 0, np.array(self._visits.shape) - 1)
        return tuple(np.moveaxis(cells, -1, 0))


def clearance(walls: np.ndarray, position: tuple[float, float], headings: np.ndarray) -> np.ndarray:
    """Return how far a player, as wide as it is, can walk from `position` along each heading before the nearest wall.

    Args:
        walls: float64 (n, 4), the line segments x1 y1 x2 y2.
        headings: float64 (h,), degrees.
    """
    angles = np.radians(headings)[:, None]
    cos, sin = np.cos(angles), np.sin(angles)
    x, y = walls[:, 0::2].T - position[0], walls[:, 1::2].T - position[1]  # both ends of each wall
    # In the player's own axes: how far to the side and how far ahead both ends are.
    side = [y[end] * cos - x[end] * sin for end in (0, 1)]
    depth = [x[end] * cos + y[end] * sin for end in (0, 1)]
    span = side[1] - side[0]
    span[span == 0] = 1
    # The nearest point of each wall within the player's width is at one of the borders of its part there.
    borders = [np.clip((border - side[0]) / span, 0, 1) for border in (-PLAYER_RADIUS, PLAYER_RADIUS)]
    near = np.minimum(*(depth[0] + share * (depth[1] - depth[0]) for share in borders))
    is_in_way = (np.minimum(*side) < PLAYER_RADIUS) & (np.maximum(*side) > -PLAYER_RADIUS) & (near > 0)
    return np.where(is_in_way, near, np.inf).min(axis=1)


def moves(name: str) -> bool:
    """Whether an action is meant to move the player."""
    return any(word in name for word in ("forward", "back", "strafe"))


def _position(variables: Mapping[str, float]) -> tuple[float, float]:
    return variables["position_x"], variables["position_y"]


def _turn(angle: float, heading: float) -> float:
    """Return the turn from `angle` to `heading` in degrees, in -180..180; positive is to the left."""
    return (heading - angle + 180) % 360 - 180
