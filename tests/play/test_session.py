"""One played game: the same keys give the same frames, whoever plays beside it and whatever is looked at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from worldmodel.play.library import Library, Loaded
from worldmodel.play.real import RealGame
from worldmodel.play.session import Session
from worldmodel.simulator import Simulator


@pytest.fixture
def loaded(library: Library) -> Loaded:
    """A checkpoint that is ready to be played."""
    return library.load(library.first)


def play(session: Session, actions: list[int]) -> list[np.ndarray]:
    return [session.step(action).images["imagined"] for action in actions]


def started(loaded: Loaded, *, seed: int = 0, temperature: float = 1.0, start: int = 0) -> Session:
    session = Session(loaded.simulator, loaded.name)
    session.begin(loaded.starts[start], seed=seed, temperature=temperature)
    return session


def test_plays_what_the_simulator_imagines(loaded: Loaded) -> None:
    """A session is the simulator with nothing in between."""
    start = loaded.starts[0].context
    actions = [1, 2, 0, 3, 1]
    simulator = loaded.simulator.fork()
    expected = simulator.imagine(start.frames[None], start.actions[None], np.array([actions]), seed=4)
    np.testing.assert_array_equal(play(started(loaded, seed=4), actions), expected.frames[0])


def test_two_games_do_not_touch_each_other(loaded: Loaded) -> None:
    """Two players on the same weights, taking turns, each see what they would see alone."""
    actions = [1, 2, 3, 0, 1, 1]
    alone = [play(started(loaded, seed=seed, start=seed), actions) for seed in (0, 1)]
    games = [started(loaded, seed=seed, start=seed) for seed in (0, 1)]
    together = [[game.step(action).images["imagined"] for game in games] for action in actions]
    for seed in (0, 1):
        np.testing.assert_array_equal([frames[seed] for frames in together], alone[seed])


def test_script_replays_exactly(loaded: Loaded) -> None:
    """A game's script, with a change of temperature in the middle, gives every frame again."""
    session = started(loaded, seed=7, temperature=0.8)
    frames = play(session, [1, 1, 2])
    session.set_temperature(0.123)
    frames += play(session, [3, 0])
    script = session.script
    again = started(loaded, seed=script.seed, temperature=1.0)
    again.clear_script()
    replayed = []
    for event in script.events:
        if event.temperature is not None:
            again.set_temperature(event.temperature)
        elif event.action is not None:
            replayed.append(again.step(event.action).images["imagined"])
    np.testing.assert_array_equal(replayed, frames)
    assert again.script == script


def test_real_game_joins_at_any_time(loaded: Loaded) -> None:
    """The real game, looked at in the middle, is where the actions lead; the imagined one never notices."""
    actions = [1, 2, 2, 1]
    watched, unwatched = started(loaded), started(loaded)
    context = loaded.starts[0].context
    for count, (action, view) in enumerate(zip(actions, ["imagined", "both", "imagined", "real"], strict=True), 1):
        watched.step(action)
        images = watched.show(view).images  # type: ignore[arg-type]
        unwatched.step(action)
        assert set(images) == ({"imagined", "real"} if view == "both" else {view})
        if "real" in images:
            expected = RealGame(context, watched.action_names).follow(actions[:count])
            np.testing.assert_array_equal(images["real"], expected)
    np.testing.assert_array_equal(
        watched.show("imagined").images["imagined"], unwatched.show("imagined").images["imagined"]
    )


def test_without_a_real_game(loaded: Loaded) -> None:
    """Frames of a video have no real game behind them: it says so and goes on with the imagined one."""
    start = loaded.starts[0]
    session = Session(loaded.simulator, loaded.name)
    session.begin(replace(start, context=replace(start.context, origin=None)), seed=0, temperature=1.0)
    shown = session.show("both")
    assert set(shown.images) == {"imagined"}
    assert session.view == "imagined"
    assert "no real game" in session.no_real


def test_temperature_is_one_games_own(loaded: Loaded) -> None:
    """A player who changes the temperature changes nobody else's."""
    started(loaded).set_temperature(0.0)
    assert loaded.simulator.temperature == 1.0
    assert isinstance(loaded.simulator, Simulator)
