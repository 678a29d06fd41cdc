"""Who plays."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from worldmodel.rollouts.policies import POLICIES, RandomPolicy, clearance, make_policy, shares

NAMES = ("noop", "forward", "left", "right", "forward+left", "forward+right", "strafe_left", "strafe_right")
ROOM = np.array([[0, 0, 400, 0], [400, 0, 400, 300], [400, 300, 0, 300], [0, 300, 0, 0]], dtype=np.float64)


class Room:
    """A walled room with the movements of the real game, as far as a policy can tell."""

    def __init__(self, *, tics: int = 4) -> None:
        self.x, self.y, self.angle = 200.0, 150.0, 0.0
        self.scale = tics / 4

    @property
    def variables(self) -> dict[str, float]:
        return {"position_x": self.x, "position_y": self.y, "angle": self.angle}

    def step(self, name: str) -> None:
        turn = (
            14 * self.scale * (("left" in name and "strafe" not in name) - ("right" in name and "strafe" not in name))
        )
        self.angle = (self.angle + turn) % 360
        side = {"strafe_left": 90, "strafe_right": -90}.get(name, 0)
        if "forward" in name or "strafe" in name:
            walk = 25 * self.scale
            self.x = min(384, max(16, self.x + walk * math.cos(math.radians(self.angle + side))))
            self.y = min(284, max(16, self.y + walk * math.sin(math.radians(self.angle + side))))


def play(policy: str, steps: int, *, seed: int = 0, tics: int = 4) -> tuple[list[str], np.ndarray]:
    """Return the actions of a policy in the room, and the places (steps, 2) it came to."""
    room = Room(tics=tics)
    player = make_policy(policy, NAMES, np.random.default_rng(seed), walls=ROOM, frame_skip=tics)
    actions, places = [], []
    for _ in range(steps):
        actions.append(NAMES[player.act(room.variables)])
        room.step(actions[-1])
        places.append((room.x, room.y))
    return actions, np.array(places)


@pytest.mark.parametrize("policy", POLICIES)
def test_generator_alone_decides(policy: str) -> None:
    """The same generator and places give the same actions, another generator others: episodes can be recorded anew."""
    assert play(policy, 200)[0] == play(policy, 200)[0]
    assert play(policy, 200)[0] != play(policy, 200, seed=1)[0]


@pytest.mark.parametrize("policy", POLICIES)
def test_every_action_is_common_enough_to_be_learnt(policy: str) -> None:
    """Each of the eight actions is at least 4% of all."""
    shares = Counter(play(policy, 6000)[0])
    assert min(shares[name] for name in NAMES) > 0.04 * 6000


def test_explorer_sees_more_and_hugs_walls_less() -> None:
    """In the same time the explorer visits more of the room than random play and spends less of it at walls."""
    seen, at_wall = {}, {}
    for policy in POLICIES:
        tracks = [play(policy, 120, seed=seed)[1] for seed in range(8)]
        seen[policy] = sum(len(np.unique(places // 40, axis=0)) for places in tracks)
        places = np.concatenate(tracks)
        at_wall[policy] = ((places[:, 0] % 368 == 16) | (places[:, 1] % 268 == 16)).mean()
    assert seen["explore"] > max(seen["sticky"], seen["random"])
    assert at_wall["explore"] < 0.5 * at_wall["sticky"]


@pytest.mark.parametrize("tics", [1, 4, 8, 12])
def test_explorer_works_at_every_frame_skip(tics: int) -> None:
    """Its thresholds follow the frame skip: it neither turns for ever nor takes slow steps for a wall."""
    actions, places = play("explore", 3000, tics=tics)
    assert sum("forward" in name for name in actions) > 0.2 * len(actions)
    assert len(np.unique(places // 40, axis=0)) > 40


def test_clearance_is_the_way_to_the_nearest_wall() -> None:
    """Straight ahead the distance; at a slant the player's width counts; a wall that is passed does not."""
    ways = clearance(ROOM, (100.0, 150.0), np.array([0.0, 90.0, 180.0, 270.0]))
    assert ways == pytest.approx([300, 150, 100, 150])
    door = np.array([[200.0, 0, 200, 140], [200, 160, 200, 300]])
    assert clearance(door, (100.0, 150.0), np.array([0.0]))[0] == pytest.approx(100)  # 20 wide: the player is wider
    door = np.array([[200.0, 0, 200, 130], [200, 170, 200, 300]])
    assert math.isinf(clearance(door, (100.0, 150.0), np.array([0.0]))[0])
    slant = clearance(ROOM, (200.0, 150.0), np.array([45.0]))[0]
    assert slant == pytest.approx(150 * math.sqrt(2) - 15)


@pytest.mark.parametrize("policy", ["explore", "sticky"])
@pytest.mark.parametrize("names", [("action_0", "action_1"), ("forward",), ("noop", "left", "right")])
def test_games_without_a_map_can_be_played(policy: str, names: tuple[str, ...]) -> None:
    """Without position, walls or the usual actions every policy still plays all there is."""
    player = make_policy(policy, names, np.random.default_rng(0), walls=np.zeros((0, 4)))
    assert {player.act({}) for _ in range(200)} == set(range(len(names)))


def test_unknown_policy_is_refused() -> None:
    """A typo lists the policies there are."""
    with pytest.raises(ValueError, match="policies: explore, sticky, random"):
        make_policy("exlore", NAMES, np.random.default_rng(0), walls=ROOM)


def test_shares_of_policies() -> None:
    """A mixture names each policy once with a positive share; anything else is refused."""
    assert shares("explore") == {"explore": 1.0}
    assert shares("explore=0.7, random=0.3") == {"explore": 0.7, "random": 0.3}
    for wrong in ("best", "random=-1", "random=x", "random=1,random=2", "", "random,", "random=inf"):
        with pytest.raises(ValueError, match=r"shares are|no policy named"):
            shares(wrong)


def test_a_mixture_draws_one_policy_an_episode() -> None:
    """About the given share of episodes is played by each policy, decided by the episode's own generator."""
    made = [
        make_policy("sticky=3,random=1", NAMES, np.random.default_rng([0, seed]), walls=ROOM) for seed in range(400)
    ]
    share = sum(isinstance(player, RandomPolicy) for player in made) / 400
    assert 0.18 < share < 0.32
