"""Games in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from worldmodel.envs import Game, GameDiedError, make_env, remote
from worldmodel.envs.remote import RemoteGame

GAME = """
import os, random, signal, threading, time
import gymnasium, numpy as np

class Square(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    action_space = gymnasium.spaces.Discrete(3)
    observation_space = gymnasium.spaces.Box(0, 1, (1,))

    def __init__(self, render_mode=None, fault=""):
        self.fault, self.thread, self.place = fault, threading.get_ident(), 0

    def reset(self, *, seed=None, options=None):
        self.place = 0
        return np.zeros(1), {}

    def step(self, action):
        if self.fault == "crash" and action == 2:
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.fault == "hang" and action == 2:
            time.sleep(100)
        if self.fault == "raise" and action == 2:
            raise KeyError("inventory")
        if self.fault == "print":
            print("step", action)
        self.place += 1 + (random.randrange(9) + np.random.randint(9) if self.fault == "global" else 0)
        return np.zeros(1), 0.5, self.place > 200, False, {}

    def render(self):
        assert threading.get_ident() == self.thread
        return np.full((20, 30, 3), self.place % 256, np.uint8)
"""


@pytest.fixture
def square(tmp_path: Path) -> Callable[..., Game]:
    """Makes the game above with a fault."""
    (tmp_path / "square.py").write_text(GAME)
    return lambda fault="", **more: make_env(f"{tmp_path / 'square.py'}:Square", arguments={"fault": fault}, **more)


def test_a_game_answers_as_if_it_were_here(square: Callable[..., Game]) -> None:
    """Frames, rewards, ends, names, rate and settings cross the process line unchanged."""
    with closing(square(frame_size=8)) as game:
        assert (game.action_names, game.frames_per_second) == (("action_0", "action_1", "action_2"), 10)
        assert game.settings["screen_size"] == [20, 30]
        assert game.reset(3).frame.shape == (8, 8, 3)
        assert game.reset(3).walls.shape == (0, 4)
        step = game.step(1)
        assert step.frame is not None
        assert (step.frame == 1).all()
        assert (step.reward, step.terminated, step.truncated) == (0.5, False, False)


def test_a_crash_is_an_error_and_a_new_game_goes_on(square: Callable[..., Game]) -> None:
    """A game whose library crashes takes nobody with it: GameDiedError names the signal."""
    with closing(square("crash", frame_size=8)) as game:
        game.reset(0)
        with pytest.raises(GameDiedError, match="died of SIGSEGV"):
            game.step(2)
    with closing(square("crash", frame_size=8)) as game:
        assert game.reset(0).frame.any() == np.False_


def test_a_hung_and_a_stopped_game_are_errors(square: Callable[..., Game], monkeypatch: pytest.MonkeyPatch) -> None:
    """A game that says nothing for too long, or is stopped, is given up; its process is gone after close."""
    monkeypatch.setattr(remote, "STEP_SECONDS", 0.5)
    monkeypatch.setattr(remote, "CLOSE_SECONDS", 0.3)
    for stop in (False, True):
        game = square("hang", frame_size=8)
        assert isinstance(game, RemoteGame)
        game.reset(0)
        if stop:
            os.kill(game.pid, signal.SIGSTOP)
        with pytest.raises(GameDiedError, match="was stopped" if stop else "hung"):
            game.step(2)
        began = time.monotonic()
        game.close()
        game.close()
        assert time.monotonic() - began < remote.CLOSE_SECONDS + 2
        assert not Path(f"/proc/{game.pid}").exists()


def test_a_failing_game_is_one_clear_line(square: Callable[..., Game]) -> None:
    """An exception in the user's game names the game and the exception; the game can be reset and goes on."""
    with closing(square("raise", frame_size=8)) as game:
        game.reset(0)
        with pytest.raises(ValueError, match=r"square.py:Square: KeyError: 'inventory'"):
            game.step(2)
        assert game.step(0).reward == 0.5


def test_global_generators_follow_the_seed(square: Callable[..., Game]) -> None:
    """A game that draws from the global generators is reproducible: its process seeds them at every reset."""
    with closing(square("global", frame_size=8)) as game:
        episodes = [[game.reset(seed).frame.max(), *(game.step(0).frame.max() for _ in range(5))] for seed in (1, 2, 1)]  # type: ignore[union-attr]
    assert episodes[0] == episodes[2]
    assert episodes[0] != episodes[1]


def test_what_a_game_prints_is_not_data(square: Callable[..., Game], capfd: pytest.CaptureFixture[str]) -> None:
    """Print statements of a game go to stderr."""
    with closing(square("print", frame_size=8)) as game:
        game.reset(0)
        game.step(1)
    out, err = capfd.readouterr()
    assert not out
    assert "step 1" in err


def test_game_dies_with_its_killed_player(tmp_path: Path) -> None:
    """SIGKILL of the process that plays ends the game's process, also in the middle of a step that hangs."""
    (tmp_path / "square.py").write_text(GAME)
    code = "import os, signal, sys, threading\nfrom worldmodel.envs import make_env\n"
    code += f"game = make_env({str(tmp_path / 'square.py') + ':Square'!r}, arguments={{'fault': 'hang'}})\n"
    code += "game.reset(0); print(game.pid, flush=True)\n"
    code += "threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGKILL)).start(); game.step(2)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    pid, deadline = int(done.stdout), time.monotonic() + 5
    while remote.process_state(pid) not in ("", "Z") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert remote.process_state(pid) in ("", "Z")


def test_game_survives_the_thread_that_made_it(square: Callable[..., Game]) -> None:
    """A game made in a thread that ends lives on: death with the parent means the process, not the thread."""
    from threading import Thread

    games: list[Game] = []
    maker = Thread(target=lambda: games.append(square(frame_size=8)))
    maker.start()
    maker.join()
    time.sleep(0.2)
    with closing(games[0]) as game:
        assert game.reset(0).frame.shape == (8, 8, 3)
