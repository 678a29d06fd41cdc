"""The real game beside the imagined one: the engine stands where the actions lead, however it got there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.models import ACTION_NAMES as NAMES
from worldmodel.envs import Game, GameDiedError, Step
from worldmodel.imagination.sources import Context
from worldmodel.imagination.truth import open_game, real_futures
from worldmodel.play.library import Library
from worldmodel.play.real import RealGame


@pytest.fixture
def context(library: Library) -> Context:
    """Where a game of the toy world begins."""
    return library.load(library.first).starts[0].context


def test_follows_the_actions(context: Context) -> None:
    """It shows what the engine shows under the same actions, whether they come one by one or all at once."""
    actions = [1, 2, 2, 3, 0, 1]
    (expected,) = real_futures(context, [[NAMES[action] for action in actions]])
    one_by_one, at_once = RealGame(context, NAMES), RealGame(context, NAMES)
    shown = [one_by_one.follow(actions[: count + 1]) for count in range(len(actions))]
    np.testing.assert_array_equal(shown, expected)
    np.testing.assert_array_equal(at_once.follow(actions), expected[-1])
    np.testing.assert_array_equal(RealGame(context, NAMES).follow([]), context.frames[-1])


def test_moves_to_another_start_with_the_same_engine(library: Library) -> None:
    """A new start of the same game needs no new engine, and is where it should be."""
    first, second = (start.context for start in library.load(library.first).starts[:2])
    opened: list[Game] = []

    def open_counted(settings: Mapping[str, Any]) -> Game:
        opened.append(open_game(settings))
        return opened[-1]

    game = RealGame(first, NAMES, open_game=open_counted)
    game.follow([1, 1])
    moved = game.move(second)
    np.testing.assert_array_equal(moved.follow([2]), RealGame(second, NAMES).follow([2]))
    assert len(opened) == 1


def test_shows_the_last_frame_once_it_is_over(context: Context) -> None:
    """The toy world ends after a hundred steps: it says so and stays as it was."""
    game = RealGame(context, NAMES)
    last = game.follow([1] * 200)
    assert game.ended
    np.testing.assert_array_equal(game.follow([1] * 201), last)


def test_episode_is_the_whole_game(context: Context) -> None:
    """The episode begins with the reset, its actions reproduce its frames, and the game stands where it stood."""
    game = RealGame(context, NAMES)
    actions = [1, 2, 3]
    here = game.follow(actions)
    engine, episode = game.episode(actions)
    assert len(episode.actions) == len(game.origin.actions) + 3
    np.testing.assert_array_equal(episode.frames[-1], here)
    assert episode.truncated
    assert not episode.terminated
    np.testing.assert_array_equal(engine.reset(episode.seed).frame, episode.frames[0])
    for index, action in enumerate(episode.actions):
        np.testing.assert_array_equal(engine.step(int(action)).frame, episode.frames[index + 1])


def test_a_dead_engine_is_replaced(context: Context) -> None:
    """After an engine died the next look starts another, which comes to the same state."""
    broken = True

    class Dying:
        def __init__(self, game: Game) -> None:
            self._game = game

        def __getattr__(self, name: str) -> Any:
            return getattr(self._game, name)

        def step(self, action: int) -> Step:
            if broken:
                raise GameDiedError("the engine died")
            return self._game.step(action)

    game = RealGame(context, NAMES, open_game=lambda settings: Dying(open_game(settings)))  # type: ignore[arg-type, return-value]
    with pytest.raises(GameDiedError):
        game.follow([1])
    broken = False
    np.testing.assert_array_equal(game.follow([1, 2]), RealGame(context, NAMES).follow([1, 2]))
