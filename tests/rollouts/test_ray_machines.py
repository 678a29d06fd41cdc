"""Recording on a Ray cluster: the same data as on one machine, whatever dies."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import descendants, read
from worldmodel.envs import GameDiedError
from worldmodel.rollouts import CollectConfig, EpisodeDataset, EpisodeRecord, Goal, collect
from worldmodel.rollouts import ray_machines as ray_machines_module
from worldmodel.rollouts.ray_machines import RayRecorder, RayWorker, ray_machines
from worldmodel.rollouts.ray_machines import _connected as connected
from worldmodel.rollouts.recording import ThisMachine

TOY = CollectConfig(env="toy", frame_size=16, frame_skip=1)
MAZE = CollectConfig(frame_size=32, frame_skip=16)  # short episodes
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed ([ray])")


class FakeRay:
    """Stands for Ray where its processes are not what is tested: actors are objects, calls are made at once."""

    class exceptions:  # noqa: N801
        RayError = ConnectionError

    def __init__(self) -> None:
        self.is_dead, self.killed = False, 0
        self.failures = self.starts = self.shutdowns = 0

    def init(self, **_: Any) -> None:
        self.starts, self.failures = self.starts + 1, self.failures - 1
        if self.failures >= 0:
            raise RuntimeError("The start failed:\n it timed out.\n")

    def shutdown(self) -> None:
        self.shutdowns += 1

    def remote(self, **_: Any) -> Any:
        return lambda worker: FakeActorClass(self, worker)

    def wait(self, calls: list[Any], *, timeout: float) -> tuple[list[Any], list[Any]]:
        return calls, []

    def get(self, call: Any) -> Any:
        if self.is_dead:
            raise ConnectionError("The actor is dead because\n its node has died.\n")
        return call

    def kill(self, actor: Any) -> None:
        self.killed += 1


class FakeActorClass:
    def __init__(self, ray: FakeRay, worker: type[RayWorker]) -> None:
        self._ray, self._worker = ray, worker

    def remote(self, *arguments: Any) -> Any:
        worker = self._worker(*arguments)

        class Method:
            def __init__(self, call: Any) -> None:
                self.remote = call

        class Actor:
            pulse = Method(lambda: None)
            start, record, close = Method(worker.start), Method(worker.record), Method(worker.close)

        return Actor()


def test_recorder_on_a_worker_records_what_this_machine_does() -> None:
    """The manifest line and the bytes that come back are those of a recorder of this machine."""
    recorder = RayRecorder(FakeRay(), TOY, patience=1.0, look=lambda: None)
    local = ThisMachine().make_recorder(TOY)
    assert recorder.info == local.info
    (there, content), (here, expected) = (each.record(5, lambda: None) for each in (recorder, local))
    assert (there, bytes(content)) == (here, bytes(expected))
    recorder.close()
    local.close()


def test_dead_worker_is_a_dead_game() -> None:
    """A worker that is gone is a GameDiedError that says why, and is not usable; a failing game stays its own error."""
    ray = FakeRay()
    recorder = RayRecorder(ray, TOY, patience=1.0, look=lambda: None)
    with pytest.raises(ValueError, match="ends at seed 999999"):
        recorder.record(10**6, lambda: None)
    assert recorder.is_usable()
    ray.is_dead = True
    with pytest.raises(GameDiedError, match=r"a worker of the cluster died with the game toy: its node has died\."):
        recorder.record(5, lambda: None)
    assert not recorder.is_usable()
    recorder.close()
    assert ray.killed == 1


@pytest.mark.parametrize("patience", [1.0, 2.0])
def test_worker_without_a_pulse_hangs(monkeypatch: pytest.MonkeyPatch, patience: float) -> None:
    """A worker that is silent for too long is given up, later if there is more patience."""
    ray, now = FakeRay(), iter(range(0, 10**6, 10))
    recorder = RayRecorder(ray, TOY, patience=1.0, look=lambda: None)
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    monkeypatch.setattr(ray, "wait", lambda calls, *, timeout: ([], calls))
    with pytest.raises(GameDiedError, match="hung with the game toy"):
        recorder.record(5, lambda: None, patience=patience)
    assert next(now) > 30 * patience
    assert not recorder.is_usable()


def test_machines_that_differ_are_refused(tmp_path: Path) -> None:
    """A machine with another version of the game is an error, not other data."""

    class Differing(ThisMachine):
        made = 0

        def make_recorder(self, config: CollectConfig, **options: Any) -> Any:
            recorder = super().make_recorder(config, **options)
            Differing.made += 1
            if Differing.made > 1:
                settings = {**recorder.info.settings, "engine": "toy 0"}
                recorder.info = type(recorder.info)(**{**vars(recorder.info), "settings": settings})
            return recorder

    with pytest.raises(ValueError, match=r"the machines differ: .*toy 0"):
        collect(TOY, tmp_path, goal=Goal(episodes=99), workers=3, machines=Differing())


def test_slow_start_is_tried_again() -> None:
    """A cluster that does not start in time is started anew; one that never does is one line; nothing is left."""
    ray = FakeRay()
    ray.failures = 2
    with connected(ray, {"address": "local"}, attempts=3):
        assert (ray.starts, ray.shutdowns) == (3, 2)
    assert ray.shutdowns == 3
    ray.failures = 9
    with (
        pytest.raises(OSError, match=r"no Ray cluster at local: it timed out\."),
        connected(ray, {"address": "local"}, attempts=3),
    ):
        pass
    assert ray.starts == ray.shutdowns == 6


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a process that is gone is removed; one of a living process, or of somebody else's, stays."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = [f"wm-ray-{gone.pid}-a", f"wm-ray-{os.getpid()}-b", "wm-ray-notes-c"]
    for name in names:
        (tmp_path / name / "logs").mkdir(parents=True)
    monkeypatch.setattr(ray_machines_module, "FOLDER", tmp_path)
    ray_machines_module.remove_leftovers()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster of two nodes with two cores each."""
    pytest.importorskip("ray", reason="Ray is not installed ([ray])")
    from ray.cluster_utils import Cluster

    options: dict[str, Any] = {"object_store_memory": 100 << 20, "include_log_monitor": False}
    head = {"num_cpus": 1, "include_dashboard": False, "no_monitor": True}
    made = Cluster(initialize_head=True, head_node_args={**head, **options})
    made.add_node(num_cpus=2, **options)
    yield made
    made.shutdown()


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_engines_workers_and_nodes_change_nothing(tmp_path: Path, cluster: Any) -> None:
    """An engine, a worker and a whole node killed while it records: the directory is one machine's, byte for byte."""
    collect(MAZE, tmp_path / "one machine", goal=Goal(episodes=16), workers=2)
    killed: list[str] = []

    def disturb(record: EpisodeRecord) -> None:
        if record.index == 2:
            kill_one("viz_controlled", killed)
        elif record.index == 4:
            kill_one("ray::RayWorker", killed)
        elif record.index == 6:
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
            killed.append("node")

    with ray_machines(cluster.address, workers=3) as machines:
        collect(MAZE, tmp_path / "many", goal=Goal(episodes=16), workers=3, machines=machines, on_episode=disturb)
    assert killed == ["viz_controlled", "ray::RayWorker", "node"]
    assert snapshot(tmp_path / "many") == snapshot(tmp_path / "one machine")


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_command_starts_a_cluster_and_leaves_nothing(tmp_path: Path) -> None:
    """`--ray` alone records what one machine records, quietly; SIGTERM ends it with exit code 143 and no process."""
    words = ["--env", "toy", "--workers", "2", "--set", "frame_size=16", "frame_skip=1"]
    done = start("--out", "ray", "--ray", "--episodes", "6", *words)
    out, err = done.communicate(timeout=280)
    assert done.returncode == 0, err
    collect(TOY, Path("one machine"), goal=Goal(episodes=6))
    assert EpisodeDataset("one machine").fingerprint in out
    assert [line for line in err.splitlines() if line.strip() and "recording" not in line] == []
    running = start("--out", "stopped", "--ray", "local", "--episodes", "100000", *words)
    while running.poll() is None and not list(Path("stopped").glob("*.parquet")):
        time.sleep(0.1)
    processes = descendants({running.pid})
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 143
    assert "finished episodes are safe in stopped" in err
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in processes):
        time.sleep(0.1)
    assert processes
    assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]


def start(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "worldmodel", "collect-rollouts", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def snapshot(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def kill_one(name: str, killed: list[str]) -> None:
    """Kill one process below this one whose command line holds `name`."""
    found = [pid for pid in descendants({os.getpid()}) if name in read(f"/proc/{pid}/cmdline")]
    os.kill(random.choice(found), signal.SIGKILL)
    killed.append(name)
