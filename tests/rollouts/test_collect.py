"""Recording a data set."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.processes import descendants, read
from worldmodel.envs import Game, GameDiedError
from worldmodel.envs.vizdoom import supervision
from worldmodel.rollouts import (
    CollectConfig,
    EpisodeDataset,
    EpisodeRecord,
    Goal,
    collect,
    measure,
    memory,
    recording,
)

TOY = CollectConfig(env="toy", frame_size=16, frame_skip=1)
MAZE = CollectConfig(frame_size=32, frame_skip=16)  # short episodes


def snapshot(path: Path) -> dict[str, bytes]:
    """Return the content of a data set's directory."""
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize("goal", [Goal(frames=1000), Goal(episodes=9)])
def test_any_number_of_workers_records_the_same_data(tmp_path: Path, goal: Goal) -> None:
    """1, 2, 4 and 7 workers leave the same directory, byte for byte, and nothing beyond the goal."""
    for workers in (1, 2, 4, 7):
        collect(TOY, tmp_path / str(workers), goal=goal, workers=workers)
    first = snapshot(tmp_path / "1")
    assert all(snapshot(tmp_path / str(workers)) == first for workers in (2, 4, 7))
    dataset = EpisodeDataset(tmp_path / "1")
    assert goal.is_reached(dataset.records)
    assert not goal.is_reached(dataset.records[:-1])
    assert len(first) == len(dataset) + 4


def test_longer_goal_continues_the_same_data_set(tmp_path: Path) -> None:
    """Recording in two parts is recording at once; a goal that is reached changes nothing."""
    collect(TOY, tmp_path / "at once", goal=Goal(episodes=6))
    for episodes in (2, 6, 3):
        collect(TOY, tmp_path / "in parts", goal=Goal(episodes=episodes), workers=2)
    assert snapshot(tmp_path / "in parts") == snapshot(tmp_path / "at once")


def test_one_killed_at_the_very_end_is_finished(tmp_path: Path) -> None:
    """The last episode was recorded and nothing after it was done: the command again removes what is too much."""
    collect(TOY, tmp_path / "undisturbed", goal=Goal(episodes=3))
    collect(TOY, tmp_path / "killed", goal=Goal(episodes=3))
    (tmp_path / "killed" / "sealed.json").unlink()
    (tmp_path / "killed" / "episode-000003.parquet").write_bytes(b"of a worker that was ahead")
    collect(TOY, tmp_path / "killed", goal=Goal(episodes=3))
    assert snapshot(tmp_path / "killed") == snapshot(tmp_path / "undisturbed")
    assert (tmp_path / "killed" / "sealed.json").read_bytes() == (tmp_path / "undisturbed" / "sealed.json").read_bytes()


def test_splits_never_share_a_seed(tmp_path: Path) -> None:
    """Training seeds lie below 1,000,000, test seeds from there on; a split does not run over into the other."""
    for split in ("train", "test"):
        collect(CollectConfig(env="toy", frame_size=16, split=split, seed=5), tmp_path / split, goal=Goal(episodes=2))
    assert [record.seed for record in EpisodeDataset(tmp_path / "train").records] == [5, 6]
    assert [record.seed for record in EpisodeDataset(tmp_path / "test").records] == [1_000_005, 1_000_006]
    last = CollectConfig(env="toy", frame_size=16, seed=999_999)
    with pytest.raises(ValueError, match="ends at seed 999999"):
        collect(last, tmp_path / "over", goal=Goal(episodes=2))
    assert len(EpisodeDataset(tmp_path / "over")) == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"policy": "random"}, "policy explore, not random"),
        ({"frame_size": 32}, "frame_size 16, not 32"),
        ({"actions": "left,right"}, "action_names"),
        ({"seed": 4}, "seed 0, not 4"),
        ({"split": "test"}, "split train, not test"),
        ({"env": "CartPole-v1"}, "env toy, not CartPole-v1"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    """A data set has one kind of episodes: other settings are refused with the one that differs; nothing changes."""
    collect(TOY, tmp_path, goal=Goal(episodes=2))
    before = snapshot(tmp_path)
    other = CollectConfig(**{"env": "toy", "frame_size": 16, "frame_skip": 1, **changed})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        collect(other, tmp_path, goal=Goal(episodes=4))
    assert snapshot(tmp_path) == before


def test_one_recorder_at_a_time(tmp_path: Path) -> None:
    """A second recorder into the same directory is refused while the first one works."""

    def second(record: EpisodeRecord) -> None:
        with pytest.raises(ValueError, match="another process is writing"):
            collect(TOY, tmp_path, goal=Goal(episodes=9))

    collect(TOY, tmp_path, goal=Goal(episodes=1), on_episode=second)
    collect(TOY, tmp_path, goal=Goal(episodes=2))


def test_full_disk_keeps_finished_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When writing fails, what was finished is there and intact, and the same call goes on when there is room again."""
    collect(TOY, tmp_path / "undisturbed", goal=Goal(episodes=8))
    real, calls = os.fsync, iter(range(10**6))

    def fill_up(descriptor: int) -> None:
        if next(calls) > 12:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr("os.fsync", fill_up)
    with pytest.raises(OSError, match="No space left"):
        collect(TOY, tmp_path / "full", goal=Goal(episodes=8), workers=3)
    dataset = EpisodeDataset(tmp_path / "full")
    assert 0 < len(dataset) < 8
    assert not any(dataset.verify(index) for index in range(len(dataset)))
    monkeypatch.setattr("os.fsync", real)
    collect(TOY, tmp_path / "full", goal=Goal(episodes=8), workers=3)
    assert snapshot(tmp_path / "full") == snapshot(tmp_path / "undisturbed")


def test_game_that_always_dies_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some attempts at one episode the recording ends with an error, not with a loop for ever."""

    def die(*_: object, **__: object) -> None:
        raise GameDiedError("the engine died")

    monkeypatch.setattr(recording, "play_episode", die)
    with pytest.raises(GameDiedError, match="died 6 times in episode 0: the engine died"):
        collect(TOY, tmp_path, goal=Goal(episodes=2))


class Failing(recording.ThisMachine):
    """Two games, of which the second dies in its second episode, and no room for a third."""

    def __init__(self) -> None:
        self.made = itertools.count()
        self.waited = threading.Event()

    def make_recorder(self, config: CollectConfig, *, patience: float = 1.0, look: Any = None) -> recording.Recorder:
        number = next(self.made)
        while number > 1:  # as long as nobody gives up
            self.waited.set()
            time.sleep(0.01)
            look()
        recorder = super().make_recorder(config, patience=patience)
        if number == 1:
            real, calls = recorder.record, itertools.count()

            def record(*args: Any, **options: Any) -> Any:
                if next(calls) == 1:
                    raise GameDiedError("the engine died")
                return real(*args, **options)

            recorder.record = record  # type: ignore[method-assign]
        return recorder


@pytest.mark.timeout(120)
def test_worker_without_a_machine_keeps_no_episode_waiting(tmp_path: Path) -> None:
    """An episode whose game died is played by another worker where no new game can be had; the data is the same."""
    collect(TOY, tmp_path / "undisturbed", goal=Goal(episodes=12))
    machines = Failing()

    def hold(record: EpisodeRecord) -> None:
        if record.index == 3:
            machines.waited.wait(60)

    collect(TOY, tmp_path / "disturbed", goal=Goal(episodes=12), workers=2, machines=machines, on_episode=hold)
    assert machines.waited.is_set()
    assert snapshot(tmp_path / "disturbed") == snapshot(tmp_path / "undisturbed")


def test_first_game_is_started_again_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A game that dies at its start is replaced before a worker has begun; one that always dies is one error."""
    real, left = CollectConfig.make_game, iter([True, True, False])

    def make(config: CollectConfig, *, patience: float = 1.0, own_process: bool = True) -> Game:
        if next(left, False):
            raise GameDiedError("the engine died")
        return real(config, patience=patience)

    monkeypatch.setattr(CollectConfig, "make_game", make)
    collect(TOY, tmp_path / "d", goal=Goal(episodes=2))
    assert len(EpisodeDataset(tmp_path / "d")) == 2
    left = iter([True] * 99)
    with pytest.raises(GameDiedError, match="died 6 times at its start: the engine died"):
        collect(TOY, tmp_path / "e", goal=Goal(episodes=2))


def test_more_workers_than_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """400 games where there is memory for some are one line with the number that fits, before any is started."""
    monkeypatch.setattr(memory, "free_memory", lambda: 1 << 30)
    with pytest.raises(ValueError, match=r"400 workers need about 46.9 GiB, 1.0 GiB are free; use --workers 8 or less"):
        collect(TOY, tmp_path, goal=Goal(episodes=2), workers=400)
    monkeypatch.setattr(memory, "free_memory", lambda: 0)
    collect(TOY, tmp_path, goal=Goal(episodes=1), workers=1)


def test_impossible_numbers_are_refused(tmp_path: Path) -> None:
    """Goals, workers and seeds that cannot be are refused with their value."""
    for frames, episodes in ((0, None), (None, 0), (None, None), (5, 5)):
        with pytest.raises(ValueError, match="ask for at least 1 frame or 1 episode"):
            Goal(frames=frames, episodes=episodes)
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        collect(TOY, tmp_path, goal=Goal(frames=1), workers=0)
    for wrong in ({"policy": "best"}, {"split": "dev"}, {"seed": -1}):
        with pytest.raises(ValueError, match=r"no policy|no split|seed must be"):
            CollectConfig(**wrong)  # type: ignore[arg-type]


def test_workers_on_the_real_engine_record_the_same_data(tmp_path: Path) -> None:
    """1 and 3 ViZDoom engines at once record the same bytes, and the explorer's coverage is measured."""
    for workers in (1, 3):
        collect(MAZE, tmp_path / str(workers), goal=Goal(episodes=3), workers=workers)
    assert snapshot(tmp_path / "1") == snapshot(tmp_path / "3")
    dataset = EpisodeDataset(tmp_path / "1")
    coverage = measure(dataset)
    counts = sum(np.bincount(dataset.actions(index), minlength=8) for index in range(len(dataset)))
    assert list(coverage.action_shares.values()) == pytest.approx((counts / counts.sum()).tolist())
    assert coverage.views > coverage.cells > 20


def engines_of(path: Path) -> list[int]:
    """Return the process ids of ViZDoom engines whose recorder writes into `path`."""
    ours = {pid for pid in os.listdir("/proc") if pid.isdigit() and str(path) in read(f"/proc/{pid}/cmdline")}
    return [pid for pid in descendants({int(pid) for pid in ours}) if "viz_controlled" in read(f"/proc/{pid}/cmdline")]


def engine_of(game: int) -> list[int]:
    """Return the process id of the engine that the game process `game` runs."""
    files = supervision.temporary_directory().glob(f"{supervision.PREFIX}{game}-*/pid")
    return [int(text) for file in files if (text := read(str(file)))]


RECORD = """
import sys
from pathlib import Path
from typing import Any
from worldmodel.rollouts import CollectConfig, Goal, collect
collect(CollectConfig(frame_size=32, frame_skip=16), Path(sys.argv[1]), goal=Goal(episodes=18), workers=2)
"""


@pytest.mark.slow
def test_killed_recording_loses_nothing_and_leaves_no_engine(tmp_path: Path) -> None:
    """kill -9 at random moments: finished episodes stay, no engine survives, and the data is an undisturbed run's."""
    collect(MAZE, tmp_path / "undisturbed", goal=Goal(episodes=18), workers=2)
    path, moments = tmp_path / "killed", random.Random(0)
    engines: set[int] = set()
    finished: set[str] = set()
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", RECORD, str(path)])
        while process.poll() is None and not engines_of(path):
            time.sleep(0.02)
        time.sleep(moments.random())
        engines |= set(engines_of(path))
        process.kill()
        process.wait()
        files = {file.name for file in path.glob("episode-*.parquet")}
        assert finished <= files
        finished = files
    assert engines
    subprocess.run([sys.executable, "-c", RECORD, str(path)], check=True)
    assert not any("viz_controlled" in read(f"/proc/{pid}/cmdline") for pid in engines)
    assert snapshot(path) == snapshot(tmp_path / "undisturbed")


@pytest.mark.slow
def test_killed_and_stopped_engines_do_not_change_the_data(tmp_path: Path) -> None:
    """Games and engines that are killed or stopped again and again are replaced; the data is an undisturbed run's."""
    games: list[recording.RemoteRecorder] = []

    class Watched(recording.ThisMachine):
        def make_recorder(self, config: CollectConfig, **options: Any) -> recording.Recorder:
            games.append(recording.RemoteRecorder(config, **options))
            return games[-1]

    over, hits = threading.Event(), 0

    def disturb() -> None:
        nonlocal hits
        while not over.wait(0.4):
            pids = [pid for game in games for pid in (game.pid, *engine_of(game.pid)) if Path(f"/proc/{pid}").exists()]
            if pids and hits < 6:
                os.kill(random.choice(pids), signal.SIGSTOP if hits % 4 == 3 else signal.SIGKILL)
                hits += 1

    collect(MAZE, tmp_path / "undisturbed", goal=Goal(episodes=14), workers=2)
    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        collect(MAZE, tmp_path / "disturbed", goal=Goal(episodes=14), workers=2, machines=Watched())
    finally:
        over.set()
        thread.join()
    assert hits >= 2
    assert snapshot(tmp_path / "disturbed") == snapshot(tmp_path / "undisturbed")
