"""Recording one episode."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from worldmodel.envs import Observation, Step, make_env
from worldmodel.envs.toy import ToyGame
from worldmodel.rollouts import Episode, recorder
from worldmodel.rollouts.recorder import record_episode


class CountingGame:
    """Frame t is filled with t; ends with a frame or without."""

    action_names = ("noop", "left")
    frames_per_second = 8.0
    settings: Mapping[str, Any] = {"env": "counting", "frame_skip": 1}

    def __init__(self, length: int, *, shows_end: bool) -> None:
        self.length = length
        self.shows_end = shows_end
        self.time = 0
        self.played: list[int] = []

    def frame(self) -> np.ndarray:
        return np.full((4, 4, 3), self.time % 256, np.uint8)

    def reset(self, seed: int) -> Observation:
        self.time = 0
        return Observation(frame=self.frame(), variables={"time": 0.0})

    def step(self, action: int) -> Step:
        self.played.append(action)
        self.time += 1
        ends = self.time == self.length
        hidden = ends and not self.shows_end
        return Step(
            frame=None if hidden else self.frame(),
            reward=float(self.time),
            terminated=ends,
            truncated=False,
            variables={} if hidden else {"time": float(self.time)},
        )

    def close(self) -> None:
        pass


def record(game: Any, seed: int = 0, policy: str = "random") -> Episode:
    return record_episode(game, seed, policy=policy, policy_seed=0)


@pytest.mark.parametrize(("shows_end", "kept"), [(True, 10), (False, 9)])
def test_every_step_is_kept_also_one_that_shows_no_frame(shows_end: bool, kept: int) -> None:
    """All 10 actions, rewards and the end are in `steps`; one without a frame stands beside the T actions."""
    game = CountingGame(10, shows_end=shows_end)
    episode = record(game)
    assert episode.frames[:, 0, 0, 0].tolist() == list(range(kept + 1))
    assert episode.actions.tolist() == game.played[:kept]
    assert episode.rewards.tolist() == list(range(1, kept + 1))
    assert episode.variables["time"].tolist() == list(range(kept + 1))
    assert (episode.terminated, episode.truncated) == (True, False)
    assert (episode.final_action, episode.final_reward) == ((None, 0) if shows_end else (game.played[9], 10))
    assert episode.steps.actions.tolist() == game.played
    assert episode.steps.rewards.tolist() == list(range(1, 11))
    assert episode.steps.terminated.tolist() == [False] * 9 + [True]
    assert not episode.steps.truncated.any()


def test_end_of_a_real_engine_is_kept() -> None:
    """ViZDoom shows no last frame: the reward of the step that finds the vest, or the cut-off, is recorded."""
    with closing(make_env("VizdoomBasic-v1", frame_size=32)) as game:
        episode = record(game, policy="sticky")
    assert episode.final_action is not None
    assert len(episode.steps.actions) == len(episode.frames)
    assert episode.steps.terminated[-1] or episode.steps.truncated[-1]


def test_endless_game_is_truncated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A game that goes on for ever is cut off at MAX_FRAMES, and said to be truncated."""
    monkeypatch.setattr(recorder, "MAX_FRAMES", 25)
    episode = record(CountingGame(10**9, shows_end=True))
    assert len(episode.frames) == 25
    assert (episode.terminated, episode.truncated) == (False, True)


def test_every_action_stands_before_the_frame_it_led_to() -> None:
    """In the toy world the shift between two frames is that of the action recorded between them, at every step."""
    game = ToyGame(frame_size=32)
    half, shift = 16, game.shift
    episode = record(game)
    seen = set()
    for time, action in enumerate(episode.actions):
        before, after = episode.frames[time], episode.frames[time + 1]
        name = game.action_names[action]
        seen.add(name)
        assert np.array_equal(before[:half, :-shift], after[:half, shift:]) == (name == "left")
        assert np.array_equal(before[:half, shift:], after[:half, :-shift]) == (name == "right")
        assert np.array_equal(before[half:-shift], after[half + shift :]) == (name == "forward")
    assert seen == set(game.action_names)


def test_recorded_episode_replays_on_the_real_engine() -> None:
    """Settings, seed and actions show the recorded ViZDoom frames again, bit for bit, and turns turn at their step."""
    with closing(make_env()) as game:
        episode = record(game, seed=1_000_003, policy="explore")
        assert np.array_equal(game.reset(episode.seed).frame, episode.frames[0])
        for time, action in enumerate(episode.actions):
            assert np.array_equal(game.step(int(action)).frame, episode.frames[time + 1])  # type: ignore[arg-type]
        names = np.array(game.action_names)[episode.actions]
    turned = (np.diff(episode.variables["angle"]) + 180) % 360 - 180
    left, right = np.isin(names, ["left", "forward+left"]), np.isin(names, ["right", "forward+right"])
    assert (turned[left] > 0).all()
    assert (turned[right] < 0).all()
    assert (turned[~left & ~right] == 0).all()
    assert episode.frames.reshape(len(episode.frames), -1).any(axis=1).all()  # no black frame survives
