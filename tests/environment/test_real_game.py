"""The real game for agents: the same beginning as in imagination, and nothing of it counted."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from tests.models import ACTION_NAMES, tiny_tokenizer
from worldmodel.environment.observation import Observer
from worldmodel.environment.real_game import RealGameEnv
from worldmodel.envs import GameDiedError, Step, make_env

SETTINGS = dict(make_env("toy", frame_skip=1, frame_size=32).settings)


def toy(context_frames: int) -> RealGameEnv:
    observer = Observer(tiny_tokenizer(), "codes")
    return RealGameEnv(SETTINGS, observer, action_names=ACTION_NAMES, context_frames=context_frames)


def test_the_agent_takes_over_where_it_does_in_imagination() -> None:
    """Trap "another number of no-ops in imagination than in reality": with a context of 4 frames, 3 steps are played
    before, always the same ones for a seed, and the agent is shown the frame that they lead to."""
    with closing(toy(4)) as env, closing(make_env("toy", frame_skip=1, frame_size=32)) as game:
        observation, info = env.reset(options={"game_seed": 5})
        again, _ = env.reset(options={"game_seed": 5})
        np.testing.assert_array_equal(observation, again)
        assert info == {"game_seed": 5}
        game.reset(5)
        rng = np.random.default_rng([5, 1])
        frames = [game.step(int(rng.integers(4))).frame for _ in range(3)]
        assert frames[-1] is not None
        np.testing.assert_array_equal(observation, env.observer.of_frames(frames[-1][None])[0])
        steps = 0
        while not env.step(0)[3]:
            steps += 1
        assert steps + 1 == 100 - 3  # the toy game's limit


def test_a_single_frame_lets_the_agent_begin_at_once() -> None:
    """With a context of one frame nothing is played before."""
    with closing(toy(1)) as env, closing(make_env("toy", frame_skip=1, frame_size=32)) as game:
        observation, _ = env.reset(options={"game_seed": 5})
        np.testing.assert_array_equal(observation, env.observer.of_frames(game.reset(5).frame[None])[0])


def test_gymnasium_checks_it() -> None:
    """Gymnasium's own checker finds nothing."""
    with closing(toy(2)) as env:
        check_env(env, skip_render_check=True, skip_close_check=True)


def test_an_action_that_the_game_lacks() -> None:
    """An agent whose actions the game does not know is refused, by name."""
    observer = Observer(tiny_tokenizer(), "codes")
    with pytest.raises(ValueError, match="the agent does 'jump', which the game does not know"):
        RealGameEnv(SETTINGS, observer, action_names=("jump",), context_frames=1)


def test_a_game_that_died_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step in which a game dies says so; the next reset closes it and plays the same beginning in another one."""
    with closing(toy(2)) as env:
        first, _ = env.reset(options={"game_seed": 5})
        dead, closed = env.game, []

        def die(action: int) -> Step:
            raise GameDiedError("the game toy died of SIGKILL")

        monkeypatch.setattr(dead, "step", die)
        monkeypatch.setattr(dead, "close", lambda: closed.append(True))
        with pytest.raises(GameDiedError, match="died of SIGKILL"):
            env.step(0)
        again, _ = env.reset(options={"game_seed": 5})
        assert closed == [True]
        assert env.game is not dead
        np.testing.assert_array_equal(first, again)
