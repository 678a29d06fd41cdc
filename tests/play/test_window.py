"""The game in a window: real pygame on SDL's dummy screen."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from worldmodel.play import window
from worldmodel.play.library import Library
from worldmodel.play.window import PlayedEnv, key_actions, open_window

MAZE = ("noop", "forward", "left", "right", "forward+left", "forward+right")


def test_keys_together() -> None:
    """Letters and arrows mean the same, also mixed, and several at once are the action that presses them all."""
    actions = key_actions(MAZE)
    assert actions[("KeyW",)] == actions[("ArrowUp",)] == actions[("KeyW", "ArrowUp")] == MAZE.index("forward")
    assert actions[("KeyW", "KeyA")] == actions[("ArrowUp", "KeyA")] == MAZE.index("forward+left")
    assert max(map(len, actions)) == window.KEYS_AT_ONCE


@pytest.mark.parametrize(("screen", "size"), [([210, 160], (672, 512, 3)), ([300, 600], (512, 1024, 3))])
def test_the_window_has_the_shape_of_the_game(library: Library, screen: list[int], size: tuple[int, int, int]) -> None:
    """What the model sees as a square is as tall or wide as the game's own screen."""
    loaded = library.load(library.first)
    context = loaded.starts[0].context
    assert context.origin is not None
    settings = {**context.origin.settings, "fit": "squash", "screen_size": screen}
    start = replace(loaded.starts[0], context=replace(context, origin=replace(context.origin, settings=settings)))
    assert PlayedEnv(replace(loaded, starts=(start,))).render().shape == size


@pytest.mark.slow
def test_is_an_environment(library: Library) -> None:
    """Gymnasium's own checker finds no fault, and the same seed gives the same game."""
    env = PlayedEnv(library.load(library.first))
    check_env(env, skip_render_check=True)
    futures = []
    for _ in range(2):
        env.reset(seed=3)
        futures.append(np.stack([env.step(action)[0] for action in (1, 2, 1)]))
    assert np.array_equal(futures[0], futures[1])
    assert np.array_equal(env.render()[::16, ::16], futures[1][-1])  # enlarged by whole pixels


@pytest.mark.slow
def test_plays_in_a_window(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is held down is the action that is done; Escape closes the window."""
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    loaded = library.load(library.first)
    done: list[int] = []
    step = PlayedEnv.step
    monkeypatch.setattr(PlayedEnv, "step", lambda self, action: (done.append(int(action)), step(self, action))[1])
    right = list(loaded.simulator.action_names).index("right")

    def player() -> None:
        while len(done) < 2:
            time.sleep(0.01)
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=ord("d")))
        while right not in done:
            time.sleep(0.01)
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_ESCAPE))

    thread = threading.Thread(target=player, daemon=True)
    thread.start()
    open_window(loaded)
    thread.join(10)
    assert done[0] == loaded.simulator.action_names.index("noop")
    assert right in done
    assert not pygame.get_init()


def test_without_pygame(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what to install."""
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[window\]'"):
        open_window(library.load(library.first))


def test_without_a_screen(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says why, and what to do instead."""
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "no such screen")
    with pytest.raises(ValueError, match=r"no window can be opened .* leave out --window"):
        open_window(library.load(library.first))
