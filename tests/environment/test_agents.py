"""Saved agents: what is written is read, nothing is unpickled, and what is damaged is named."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

from stable_baselines3 import PPO

from tests.models import ACTION_NAMES
from tests.worlds import random_contexts, tiny_outcome_simulator
from worldmodel.environment.agents import AgentSpec, load, translated
from worldmodel.environment.sb3 import ImaginedVecEnv
from worldmodel.training.tokenizer import save_tokenizer

SPEC = AgentSpec(
    observation="features",
    action_names=ACTION_NAMES,
    settings={"env": "toy", "frame_size": 32, "frame_skip": 1, "action_names": list(ACTION_NAMES)},
    context_frames=2,
    trained_in="imagination",
    hidden=(8,),
    steps=0,
    seed=0,
    temperature=1.0,
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PPO]:
    """An untrained agent's directory, and Stable-Baselines3's own object."""
    out = tmp_path_factory.mktemp("agent")
    simulator = tiny_outcome_simulator()
    games = ImaginedVecEnv(1, simulator, random_contexts([2]))
    model = PPO("MlpPolicy", games, n_steps=2, batch_size=2, policy_kwargs=SPEC.policy_settings, seed=0, device="cpu")
    model.save(out / "agent.zip")
    save_tokenizer(simulator.tokenizer, out / "tokenizer", {})
    SPEC.write(out)
    return out, model


def test_a_loaded_agent_acts_as_the_saved_one(saved: tuple[Path, PPO]) -> None:
    """From the zip or its directory, the likeliest action of a frame is Stable-Baselines3's own."""
    out, model = saved
    frames = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    for path in (out, out / "agent.zip"):
        agent = load(path)
        assert agent.action_names == ACTION_NAMES
        expected = model.predict(agent.observer.of_frames(frames), deterministic=True)[0]
        assert [agent(frame) for frame in frames] == expected.tolist()


def test_drawn_actions_follow_the_policy(saved: tuple[Path, PPO]) -> None:
    """With random numbers, actions come at the policy's probabilities, and the same ones for the same numbers."""
    agent = load(saved[0])
    observation = agent.observer.of_frames(np.zeros((1, 32, 32, 3), np.uint8))
    rng = np.random.default_rng(0)
    drawn = np.array([agent.act(observation, rng)[0] for _ in range(500)])
    seen, _ = agent.policy.obs_to_tensor(observation)
    expected = agent.policy.get_distribution(seen).distribution.probs[0].tolist()
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 500, expected, atol=0.07)
    assert agent.act(observation, np.random.default_rng(0))[0] == drawn[0]


def test_only_weights_are_read(saved: tuple[Path, PPO], tmp_path: Path) -> None:
    """The pickled part of the zip may hold anything: it is not looked at."""
    out, _ = saved
    for file in (out / "tokenizer").rglob("*"):
        target = tmp_path / "tokenizer" / file.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(file.read_bytes())
    (tmp_path / "agent.json").write_bytes((out / "agent.json").read_bytes())
    with zipfile.ZipFile(out / "agent.zip") as source, zipfile.ZipFile(tmp_path / "agent.zip", "w") as target_zip:
        for name in source.namelist():
            target_zip.writestr(name, b"not even JSON" if name == "data" else source.read(name))
    frame = np.zeros((32, 32, 3), np.uint8)
    assert load(tmp_path)(frame) == load(out)(frame)


def test_the_spec_is_written_and_read(tmp_path: Path) -> None:
    """Write, read: identity."""
    spec = dataclasses.replace(SPEC, steps=7, training={"gamma": 0.9})
    spec.write(tmp_path)
    assert AgentSpec.read(tmp_path) == spec


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no agent in"), ("{", "is damaged"), ("{}", "is damaged"), ("schema", "has schema 99")],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    """A missing, damaged or newer agent is one line."""
    if content == "schema":
        content = json.dumps(dataclasses.asdict(SPEC) | {"schema": 99})
    if content is not None:
        (tmp_path / "agent.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "agent.zip")


def test_a_cut_off_zip_is_named(saved: tuple[Path, PPO], tmp_path: Path) -> None:
    """Half a zip is not an agent."""
    from worldmodel.environment.agents import _load_policy
    from worldmodel.environment.observation import Observer

    file = tmp_path / "agent.zip"
    file.write_bytes((saved[0] / "agent.zip").read_bytes()[:1000])
    space = Observer(tiny_outcome_simulator().tokenizer, "features").space
    with pytest.raises(ValueError, match="cannot read"):
        _load_policy(file, SPEC, space)


def test_actions_are_translated_by_name() -> None:
    """An agent's actions are found in a game by their names, in whatever order."""
    assert translated(("b", "a"), ("a", "c", "b")) == [2, 0]


def test_it_records(saved: tuple[Path, PPO], tmp_path: Path) -> None:
    """`collect-rollouts --policy agent.zip` plays what the agent draws for the recorded frames, the same for a seed."""
    from worldmodel.rollouts import CollectConfig, EpisodeDataset, Goal, collect

    config = CollectConfig(env="toy", frame_size=32, policy=str(saved[0] / "agent.zip"))
    for name in ("one", "two"):
        collect(config, tmp_path / name, goal=Goal(episodes=1))
    episode, again = (EpisodeDataset(tmp_path / name).episode(0) for name in ("one", "two"))
    np.testing.assert_array_equal(episode.actions, again.actions)
    agent = load(saved[0])
    seen, _ = agent.policy.obs_to_tensor(agent.observer.of_frames(episode.frames[:-1]))
    chances = agent.policy.get_distribution(seen).distribution.probs.detach().numpy().mean(0)
    played = [episode.actions.tolist().count(i) / len(episode.actions) for i in range(4)]
    np.testing.assert_allclose(played, chances, atol=0.2)
