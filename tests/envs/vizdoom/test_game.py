"""The real ViZDoom engine as a game."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from worldmodel.envs import Game, GameDiedError, make_env
from worldmodel.envs.vizdoom import supervision
from worldmodel.envs.vizdoom.game import VizdoomGame, find


@pytest.fixture(scope="module")
def game() -> Iterator[Game]:
    with closing(make_env()) as engine:
        yield engine


def sideways(before: np.ndarray, after: np.ndarray) -> int:
    """Return by how many columns the view moved to the right, as the best match of the two frames."""
    width = before.shape[1]
    errors = {}
    for columns in range(-30, 31):
        old = before[32:96, max(0, -columns) : width - max(0, columns)].astype(float)
        new = after[32:96, max(0, columns) : width - max(0, -columns)].astype(float)
        errors[columns] = np.abs(old - new).mean()
    return min(errors, key=lambda columns: errors[columns])


def test_action_shows_in_the_very_next_frame(game: Game) -> None:
    """Turning left moves the view to the right in the frame after the action, not one earlier or later."""
    names = ["noop", "noop", "left", "noop", "right", "right", "noop", "left"]
    moved, turned = [], []
    before = game.reset(3)
    for name in names:
        step = game.step(game.action_names.index(name))
        assert step.frame is not None
        moved.append(int(np.sign(sideways(before.frame, step.frame))))
        turned.append(int(np.sign((step.variables["angle"] - before.variables["angle"] + 180) % 360 - 180)))
        before = step  # type: ignore[assignment]
    expected = [{"left": 1, "right": -1, "noop": 0}[name] for name in names]
    assert turned == expected
    assert moved == expected


def test_seed_and_actions_replay_bit_for_bit(game: Game) -> None:
    """The frames depend on seed and actions alone, not on what the engine played before or which engine it is."""
    actions = np.random.default_rng(0).integers(len(game.action_names), size=30)

    def play(player: Game, seed: int) -> np.ndarray:
        return np.stack([player.reset(seed).frame, *(player.step(int(action)).frame for action in actions)])  # type: ignore[misc]

    first, other = play(game, 11), play(game, 12)
    with closing(make_env()) as second:
        assert np.array_equal(play(second, 11), first)
    assert np.array_equal(play(game, 11), first)
    assert not np.array_equal(first, other)


def test_end_of_an_episode_shows_no_frame(game: Game) -> None:
    """The step into the time limit is truncated and has no frame where Gymnasium's wrapper would show black."""
    game.reset(5)
    for _ in range(600):
        step = game.step(0)
        if step.frame is None:
            break
        assert step.frame.any()
        assert not step.terminated
        assert not step.truncated
    assert step.truncated
    assert not step.terminated


def test_frame_is_rgb(game: Game) -> None:
    """Channels are red, green, blue: the red room of the maze is red."""
    reddest = max((game.reset(seed).frame.reshape(-1, 3).mean(axis=0) for seed in range(30)), key=lambda c: c[0] - c[2])
    assert reddest[0] > 2 * reddest[2]


def test_sizes_and_settings_that_cannot_be_are_refused() -> None:
    """A wrong size, frame skip or action is an error before an engine is started."""
    for wrong in ({"frame_size": 100}, {"frame_skip": 0}, {"actions": ["attack"]}):
        with pytest.raises(ValueError, match=r"256, 128|at least 1|no action named"):
            make_env(**wrong)  # type: ignore[arg-type]


def test_hung_or_killed_engine_is_an_error_and_leaves_nothing() -> None:
    """A stopped engine ends the call as soon as a killed one; close removes its memory and directory."""
    for number, limit in ((signal.SIGSTOP, 1.5), (signal.SIGKILL, 1.0)):
        game = VizdoomGame(find("VizdoomMyWayHome-v1"))
        directory = game.directory
        pid = directory.pid()
        assert pid is not None
        game.reset(0)
        os.kill(pid, number)
        began = time.monotonic()
        with pytest.raises(GameDiedError):
            game.step(0)
        assert time.monotonic() - began < limit
        instance = (directory.path / "arguments").read_text().split("+viz_instance_id\n")[1].split("\n")[0]
        game.close()
        game.close()
        assert not list(Path("/dev/shm").glob(f"*{instance}"))
        assert not directory.path.exists()
        assert not Path(f"/proc/{pid}").exists()


def test_engine_killed_while_it_starts_is_started_again() -> None:
    """An engine that dies before its shared memory is there does not take this process with it."""
    killed, over = threading.Event(), threading.Event()

    def kill_first() -> None:
        known = f"{supervision.PREFIX}{os.getpid()}-*"
        while not killed.is_set() and not over.wait(0.001):
            for file in supervision.temporary_directory().glob(f"{known}/pid"):
                if not (file.parent / "started").exists():
                    os.kill(int(file.read_text()), signal.SIGKILL)
                    killed.set()

    thread = threading.Thread(target=kill_first)
    thread.start()
    with closing(VizdoomGame(find("VizdoomMyWayHome-v1"))) as game:
        over.set()
        assert game.reset(0).frame.any()
    thread.join()
    assert killed.is_set()


def test_a_scenario_of_ones_own(tmp_path: Path) -> None:
    """A .cfg with its .wad beside it is a game; without the wad, or with lines that mean nothing, it is one line."""
    import vizdoom

    scenarios = Path(vizdoom.scenarios_path)
    (tmp_path / "my.wad").write_bytes((scenarios / "basic.wad").read_bytes())
    text = "doom_scenario_path = my.wad\navailable_buttons = { ATTACK SELECT_WEAPON1 }\nepisode_timeout = 40\n"
    (tmp_path / "my.cfg").write_text(text)
    with closing(make_env(str(tmp_path / "my.cfg"), frame_size=32, actions=["noop", "select_weapon1+attack"])) as game:
        assert game.action_names == ("noop", "attack+select_weapon1")
        assert game.reset(0).frame.any()
        assert game.step(1).frame is not None
    (tmp_path / "bad.cfg").write_text(text.replace("my.wad", "none.wad"))
    (tmp_path / "odd.cfg").write_text(text.replace("ATTACK", "ATTCK"))
    for file, message in (("bad", "is no file"), ("odd", "does not understand"), ("missing", "no file")):
        with pytest.raises(ValueError, match=message):
            make_env(str(tmp_path / f"{file}.cfg"))
