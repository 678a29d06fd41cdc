"""Imagined games as Stable-Baselines3 sees them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.vec_env import VecMonitor

from tests.worlds import random_contexts, tiny_outcome_simulator
from worldmodel.environment.imagined_env import ImaginedEnv, ImaginedVectorEnv
from worldmodel.environment.sb3 import ImaginedVecEnv, ShuffledActions

CONTEXTS = random_contexts([3, 3, 2])


def games(num: int, **settings: Any) -> ImaginedVecEnv:
    return ImaginedVecEnv(num, tiny_outcome_simulator(), CONTEXTS, **({"horizon": 4} | settings))


@pytest.mark.parametrize("observation", ["frames", "codes", "features"])
def test_its_checker_finds_nothing(observation: str) -> None:
    """Stable-Baselines3's own checker accepts a single game, with each kind of observation."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*image.*|.*unconventional shape.*")
        check_env(ImaginedEnv(tiny_outcome_simulator(), CONTEXTS, horizon=4, observation=observation))


def test_it_shows_what_the_vector_environment_shows() -> None:
    """The same seed and actions bring the same observations, rewards and ends as Gymnasium's SAME_STEP mode, with the
    last observation of an episode beside it, and the horizon told from the end."""
    venv = games(3)
    env = ImaginedVectorEnv(
        3, tiny_outcome_simulator(), CONTEXTS, horizon=4, observation="features", autoreset_mode="SameStep"
    )
    venv.seed(5)
    np.testing.assert_array_equal(venv.reset(), env.reset(seed=5)[0])
    horizons = 0
    for step in range(12):
        actions = np.array([step % 4, 0, 1])
        observation, rewards, dones, infos = venv.step(actions)
        expected, expected_rewards, terminated, truncated, expected_infos = env.step(actions)
        np.testing.assert_array_equal(observation, expected)
        np.testing.assert_array_equal(rewards, expected_rewards)
        np.testing.assert_array_equal(dones, terminated | truncated)
        for i in range(3):
            assert infos[i]["TimeLimit.truncated"] == truncated[i]
            assert ("terminal_observation" in infos[i]) == dones[i]
            if dones[i]:
                np.testing.assert_array_equal(infos[i]["terminal_observation"], expected_infos["final_obs"][i])
                horizons += truncated[i]
    assert horizons > 0


def test_returns_are_those_of_the_steps() -> None:
    """Its monitor counts each episode's own rewards."""
    venv = VecMonitor(games(2))
    venv.seed(0)
    venv.reset()
    totals, checked = np.zeros(2), 0
    for _ in range(10):
        _, rewards, dones, infos = venv.step(np.zeros(2, np.int64))
        totals += rewards
        for i in np.flatnonzero(dones):
            assert infos[i]["episode"]["r"] == pytest.approx(totals[i])
            totals[i] = 0
            checked += 1
    assert checked


def test_shuffled_actions_mean_nothing() -> None:
    """Under the control every action is done equally often, whichever one is chosen."""
    venv = ShuffledActions(games(4), seed=0)
    done: list[np.ndarray] = []
    venv.venv.step_async = done.append  # type: ignore[method-assign]
    for _ in range(300):
        venv.step_async(np.full(4, 2))
    counts = np.bincount(np.concatenate(done), minlength=4)
    assert counts.min() > 240
    assert counts.max() < 360


def test_attributes_are_shared() -> None:
    """What Stable-Baselines3 asks of single games is answered for all of them; they cannot be set one by one."""
    venv = games(3)
    assert venv.get_attr("render_mode") == [None] * 3
    assert venv.env_is_wrapped(VecMonitor, indices=[0, 1]) == [False, False]
    venv.set_attr("label", "x")
    assert venv.get_attr("label", indices=0) == ["x"]
    with pytest.raises(ValueError, match="share their attributes"):
        venv.set_attr("label", "y", indices=[0])
    venv.reset()
    images = venv.get_images()
    assert len(images) == 3
    assert images[0] is not None
    assert images[0].shape == (32, 32, 3)


@pytest.mark.slow
def test_ppo_trains_on_it() -> None:
    """200 steps of PPO run, and its episodes' returns are counted."""
    model = PPO("MlpPolicy", VecMonitor(games(4)), n_steps=25, batch_size=50, n_epochs=1, seed=0, device="cpu")
    model.learn(200)
    assert model.num_timesteps == 200
    assert model.ep_info_buffer
    assert all(episode["l"] <= 4 for episode in model.ep_info_buffer)
