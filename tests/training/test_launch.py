"""Training in several processes: they train one model, and they end together, whatever ends one of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.worlds import record_toy
from worldmodel.checkpoints.checkpoint import read
from worldmodel.training import launch

ROOT = Path(__file__).parent.parent.parent
STUBBORN = """
import os, signal, time
from worldmodel.training.launch import hand_over
rank = int(os.environ["RANK"])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(f"pid{rank}", "w").write(str(os.getpid()))
while not all(os.path.exists(f"pid{other}") and os.path.getsize(f"pid{other}") for other in (0, 1)):
    time.sleep(0.01)
"""
KILLED = f"""
import sys
from worldmodel.training.launch import launch
launch([sys.executable, "-c", {STUBBORN + "time.sleep(100)"!r}], 2)
"""
SKEWED = f"""
import os, sys, time
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
if os.environ["RANK"] == "1":
    right, began = time.monotonic, time.monotonic()
    time.monotonic = lambda: began + 3 * (right() - began)
from tests.training.test_loop import CONFIG, Line
from worldmodel.config import TrainingConfig
from worldmodel.training.loop import train
train(Line(), TrainingConfig(**(vars(CONFIG) | {{"steps": 10**9, "minutes": 0.02}})), Path("out"))
"""
TINY = ["--set", "hidden_dim=16", "--set", "residual_dim=8", "--set", "codebook_size=16", "--set", "batch=2"]


def run(script: str) -> tuple[int, str]:
    """Run a script as two processes."""
    return launch.launch([sys.executable, "-c", script], 2)


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def assert_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 5
    while any(map(runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [pid for pid in pids if runs(pid)]


def stubborn_pids() -> list[int]:
    return [int(Path(f"pid{rank}").read_text()) for rank in (0, 1)]


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command(data: Path, out: Path, *words: str) -> list[str]:
    start = [sys.executable, "-m", "worldmodel", "train-tokenizer", "--data", str(data), "--out", str(out)]
    return [*start, *words, *TINY]


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "GRACE_SECONDS", 0.3)


def test_processes_are_told_who_they_are() -> None:
    """Each process has its rank, and all have one meeting point on this machine and one thread."""
    names = ["WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS", "GLOO_SOCKET_IFNAME"]
    assert run(f"""
import json, os
ranks = (os.environ["RANK"], os.environ["LOCAL_RANK"])
open(f"told{{ranks[0]}}", "w").write(json.dumps([ranks, [os.environ[name] for name in {names}]]))
""") == (0, "")
    (first, common), (second, same) = (json.loads(Path(f"told{rank}").read_text()) for rank in (0, 1))
    assert (first, second) == (["0", "0"], ["1", "1"])
    assert common == same
    assert common[:3] == ["2", "2", "127.0.0.1"]
    assert common[4:] == [os.environ["OMP_NUM_THREADS"], "lo"]


@pytest.mark.usefixtures("short_grace")
def test_a_failure_ends_the_run(capfd: pytest.CaptureFixture[str]) -> None:
    """Its code and its error are the run's, nobody else speaks, and a process that hears no SIGTERM is killed."""
    script = STUBBORN + "if rank: hand_over('the data is damaged'); print('noise'); raise SystemExit(3)\ntime.sleep(99)"
    assert run(script) == (3, "the data is damaged")
    assert_gone(stubborn_pids())
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("short_grace")
def test_the_first_error_is_the_cause() -> None:
    """What a process says because another one left is not what the user reads."""
    script = (
        STUBBORN + "time.sleep(0 if rank else 0.2); hand_over('disk full' if rank else 'lost'); raise SystemExit(1)"
    )
    assert run(script) == (1, "disk full")


@pytest.mark.usefixtures("short_grace")
def test_a_killed_process_ends_the_run() -> None:
    """The one that was killed is named, not the one that misses it."""
    script = STUBBORN + "os.kill(os.getpid(), 9) if rank else hand_over('lost')\ntime.sleep(99)"
    code, error = run(script)
    assert code == 1
    assert error.startswith("process 1 of 2 was killed by SIGKILL; ")
    assert_gone(stubborn_pids())


@pytest.mark.usefixtures("short_grace")
def test_a_bugs_traceback_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    """Also where it is not in the first process, whose output alone is seen."""
    assert run(STUBBORN + "assert not rank, 'a bug'\ntime.sleep(100)") == (1, "")
    assert capfd.readouterr().err.endswith("AssertionError: a bug\n")


@pytest.mark.usefixtures("short_grace")
def test_asked_twice_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second Ctrl-C ends processes that do not hear the first."""
    asker = f"import os, time\ntime.sleep(0.5)\nos.kill({os.getpid()}, 2)\ntime.sleep(0.2)\nos.kill({os.getpid()}, 2)"
    with subprocess.Popen([sys.executable, "-c", asker]):
        assert run(STUBBORN + "signal.signal(2, signal.SIG_IGN)\ntime.sleep(100)") == (128 + signal.SIGINT, "")
    assert_gone(stubborn_pids())


def test_processes_die_with_the_one_that_launched_them() -> None:
    """kill -9 of the parent leaves no child."""
    with subprocess.Popen([sys.executable, "-c", KILLED]) as parent:
        deadline = time.monotonic() + 20
        while not all(Path(f"pid{rank}").exists() for rank in (0, 1)) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.1)
        assert all(map(runs, stubborn_pids()))
        parent.kill()
    assert_gone(stubborn_pids())


def test_number_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One a core, at most four, without asking torch; a run that is resumed keeps the number that it had."""
    monkeypatch.setattr(launch, "GPU_DEVICES", ())
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    assert launch.choose_processes(tmp_path, resume=False) == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    assert launch.choose_processes(tmp_path, resume=True) == 4
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert launch.choose_processes(tmp_path, resume=False) == 1
    (tmp_path / "training").mkdir()
    for content, number in (('{"config": {"processes": 3}}', 3), ('{"config": {"processes": 1e9}}', 1), ("damaged", 1)):
        (tmp_path / "training" / "config.json").write_text(content)
        assert launch.choose_processes(tmp_path, resume=True) == number
        assert launch.choose_processes(tmp_path, resume=False) == 1


def test_without_a_loopback_interface_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that cannot reach each other are not started: one line, and what to do."""
    launch.require_loopback(2)
    assert launch.has_loopback()

    def unreachable(*_: object, **__: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("socket.create_connection", unreachable)
    assert not launch.has_loopback()
    with pytest.raises(ValueError, match="2 processes talk through the loopback interface, which is down; use --proc"):
        launch.require_loopback(2)


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path: Path) -> None:
    """Two processes train one model together and save one checkpoint; a run that is resumed has as many."""
    data, out = record_toy(tmp_path / "data", episodes=4), tmp_path / "out"
    for steps, words in ((4, ["--processes", "2"]), (6, ["--resume"])):
        done = subprocess.run(
            command(data, out, "--steps", str(steps), *words), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["step"] == steps
        assert "Warning" not in done.stderr
        assert done.stderr.count("held out") == 1
    checkpoint = read(out, kind="tokenizer")
    assert checkpoint.metrics["training"]["processes"] == 2
    assert checkpoint.metrics["step"] == 6
    assert checkpoint.metrics["frames"] == 6 * 2 * 2


@pytest.mark.slow
def test_a_mistake_is_said_once(tmp_path: Path) -> None:
    """However many processes there are, what is wrong with a command is one line, with the usual exit codes."""
    for words, code, error in (
        (["--processes", "2"], 1, "no data set in "),
        (["--processes", "2", "--set", "bathc=2"], 2, "no setting named 'bathc'; did you mean 'batch'?"),
        (["--processes", "-1"], 2, "--processes must be 0 (automatic) to "),
    ):
        data = tmp_path if "--set" not in words else record_toy(tmp_path / "data", episodes=2)
        done = subprocess.run(command(data, tmp_path / "out", *words), capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stderr
        assert done.stderr.startswith(f"worldmodel train-tokenizer: {error}")
        assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_saves(tmp_path: Path, number: int) -> None:
    """SIGTERM or SIGINT to the parent: the state is saved, the exit code says which, no child is left."""
    data, out = record_toy(tmp_path / "data", episodes=4), tmp_path / "out"
    words = command(data, out, "--processes", "2", "--set", "log_every_steps=1")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as parent:
        deadline = time.monotonic() + 60
        while not ((out / "log.jsonl").exists() and (out / "log.jsonl").stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.05)
        pids = children(parent.pid)
        assert len(pids) == 2
        parent.send_signal(number)
        _, error = parent.communicate(timeout=30)
    assert parent.returncode == 128 + number
    assert error.count("the state is saved") == 1
    assert_gone(pids)
    assert read(out / "training", kind="training").metrics["step"] > 0


@pytest.mark.slow
def test_one_clock_ends_all_processes() -> None:
    """Processes whose clocks differ end at the same step: none waits for the gradients of one that has left."""
    assert run(SKEWED) == (0, "")
    assert read(Path("out/training"), kind="training").metrics["seconds"] >= 1.2
