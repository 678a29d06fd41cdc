"""Policies of the user's own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from worldmodel.rollouts import CollectConfig, EpisodeDataset, Goal, collect
from worldmodel.rollouts.own_policy import AgentPolicy, load

NAMES = ("noop", "left", "right")
POLICY = """
import numpy as np

def by_name(frame, variables, action_names, rng):
    return action_names[1]

def by_index(frame, variables, action_names, rng):
    return np.int64(int(frame[0, 0, 0]) % len(action_names))

def wrong(frame, variables, action_names, rng):
    return "jump"

def broken(frame, variables, action_names, rng):
    return variables["health"]

class Alternating:
    def __init__(self, action_names, rng):
        self.count, self.action_names = 0, action_names

    def __call__(self, frame, variables):
        self.count += 1
        return self.action_names[self.count % 2]
"""


@pytest.fixture
def place(tmp_path: Path) -> str:
    """The file with the policies."""
    file = tmp_path / "players.py"
    file.write_text(POLICY)
    return str(file)


def acts(name: str, frame_value: int = 0, count: int = 3) -> list[int]:
    player = load(name, NAMES, np.random.default_rng(0), None)
    return [player.act({}, frame=np.full((2, 2, 3), frame_value, np.uint8)) for _ in range(count)]


def test_functions_and_classes_choose(place: str) -> None:
    """A function answers with a name or an index and sees the frame; a class keeps a state of its own."""
    assert acts(f"{place}:by_name") == [1, 1, 1]
    assert acts(f"{place}:by_index", 5) == [2, 2, 2]
    assert acts(f"{place}:Alternating") == [1, 0, 1]


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("wrong", "chose 'jump'; actions are noop, left, right"),
        ("broken", "failed: KeyError: 'health'"),
        ("missing", "has no function 'missing'"),
    ],
)
def test_what_is_wrong_is_said(place: str, member: str, message: str) -> None:
    """A policy that is missing, fails, or chooses no action is a ValueError with its name."""
    with pytest.raises(ValueError, match=message):
        acts(f"{place}:{member}")


def test_a_policy_records_and_is_written_down(place: str, tmp_path: Path) -> None:
    """collect() lets it play, and the data set says who played."""
    config = CollectConfig(env="toy", frame_size=16, policy=f"{place}:by_name")
    collect(config, tmp_path / "d", goal=Goal(episodes=2), workers=2)
    dataset = EpisodeDataset(tmp_path / "d")
    assert dataset.info.policy == config.policy
    assert set(dataset.actions(1).tolist()) == {1}


def test_agents_act_on_the_environments_own_observation(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent's action becomes the nearest of the named ones; a game without observations refuses agents."""
    seen: list[Any] = []
    agent = SimpleNamespace(predict=lambda observation: (seen.append(observation) or np.array([0.6]), None))
    monkeypatch.setattr("worldmodel.rollouts.own_policy._load_agent", lambda file: agent)
    game: Any = SimpleNamespace(observation=np.ones(4), action_values=[np.array([v]) for v in (0.0, -1.0, 1.0)])
    assert AgentPolicy("agent.zip", game).act({}) == 2
    assert seen[0] is game.observation
    with pytest.raises(ValueError, match="needs a Gymnasium environment"):
        AgentPolicy("agent.zip", None)


@pytest.mark.slow
def test_a_saved_agent_of_stable_baselines_records(tmp_path: Path) -> None:
    """A zip that Stable-Baselines3 itself wrote plays the environment that it was trained on."""
    library = pytest.importorskip("stable_baselines3")
    pytest.importorskip("pygame")
    for kind in (library.PPO, library.DQN):
        file = tmp_path / f"{kind.__name__}.zip"
        kind("MlpPolicy", "CartPole-v1", device="cpu").save(file)
        config = CollectConfig(env="CartPole-v1", frame_size=16, policy=str(file))
        collect(config, tmp_path / kind.__name__, goal=Goal(episodes=1))
        assert len(EpisodeDataset(tmp_path / kind.__name__)) == 1
    with pytest.raises(ValueError, match="is no agent of Stable-Baselines3"):
        collect(
            CollectConfig(env="CartPole-v1", frame_size=16, policy=str(tmp_path / "no.zip")),
            tmp_path / "no",
            goal=Goal(episodes=1),
        )
