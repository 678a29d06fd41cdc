"""The collect-rollouts command: what it prints, and one clear line for everything that goes wrong."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
import types
from collections.abc import Sequence
from pathlib import Path

import pytest

from worldmodel.commands import main
from worldmodel.rollouts import EpisodeDataset

TOY = ["--env", "toy", "--set", "frame_size=16", "frame_skip=1"]


def collect(*words: object) -> int:
    """The exit code, also where argparse ends the process."""
    try:
        return main(["collect-rollouts", *map(str, words)])
    except SystemExit as stop:
        return int(stop.code or 0)


def start(*words: object, **options: object) -> subprocess.Popen[str]:
    """The command in a process of its own, in which Ctrl-C does what it does in a terminal."""
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from worldmodel.commands import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "collect-rollouts", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload, no-any-return]


def test_says_what_it_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    """Facts go to stdout: episodes, frames, actions with their shares, coverage, hash; progress to stderr."""
    assert collect("--out", "d", "--frames", 300, "--policy", "random", *TOY) == 0
    out, err = capsys.readouterr()
    dataset = EpisodeDataset("d")
    assert dataset.lengths.sum() >= 300
    assert f"d: {len(dataset)} episodes" in out
    assert all(f"{name} " in out for name in ("noop", "forward", "left", "right"))
    assert "map cells" in out
    assert dataset.fingerprint in out
    assert "frames/s" in err


def test_same_command_again_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """With a larger number it records the rest, with the same nothing; episodes can be counted instead of frames."""
    for episodes in (2, 4, 4):
        assert collect("--out", "d", "--episodes", episodes, *TOY) == 0
        assert len(EpisodeDataset("d")) == episodes


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "--out"),
        (["--out", "d", "--env", "VizdoomMyWayHom-v1"], 1, "did you mean 'VizdoomMyWayHome-v1'?"),
        (["--out", "d", "--env", "toy", "--set", "actions=left,rigt"], 1, "no action named 'rigt'"),
        (["--out", "d", "--set", "actions=forward,lef"], 1, "no action named 'lef'; did you mean 'left'?"),
        (["--out", "d", "--set", "frame_skips=4"], 2, "did you mean 'frame_skip'?"),
        (["--out", "d", "--set", "frame_skip=four"], 2, "frame_skip takes a number"),
        (["--out", "d", "--set", "frame_size=100"], 1, "256, 128, 64 or 32, got 100"),
        (["--out", "d", "--frames", "0"], 2, "at least 1 frame"),
        (["--out", "d", "--frames", "5", "--episodes", "5"], 2, "not allowed with"),
        (["--out", "d", "--set", "seed=1000000"], 2, "seed must be 0 to 999999"),
        (["--out", "d", "--set", "split=dev"], 2, "no split named 'dev'"),
        (["--out", "d", "--policy", "best"], 2, "no policy named 'best'"),
        (["--out", "d", "--policy", "random=2,random=1"], 2, "shares are positive numbers"),
        (["--out", "d", "--env-set", "continuous"], 2, "--env-set takes name=value"),
        (["--out", "d", "--env-set", "size=3", *TOY], 1, "takes no keyword arguments, got size"),
        (["--out", "d", "--env", "my.cfg"], 1, "no file my.cfg"),
        (["--out", "d", "--env", "CartPole-v1", "--env-set", "level=3"], 1, "level"),
        (["--out", "d", "--workers", "0", *TOY], 1, "workers must be at least 1"),
        (["--out", "d", "--episode", "5"], 2, "did you mean --episodes?"),
        (["--out", "file/below", *TOY], 1, "file"),
        (["--out", "/proc/nowhere", *TOY], 1, "/proc/nowhere"),
        (["--out", "d", "--ray", "127.0.0.1:1", *TOY], 1, "no Ray cluster at 127.0.0.1:1: "),
        (["--out", "d", "--ray", "somewhere", *TOY], 1, '--ray takes "host:port", "auto" or "local", got'),
        (["--out", "d", "--ray", "--workers", "0", *TOY], 2, "workers must be at least 1"),
    ],
)
def test_mistakes_get_one_line(
    words: Sequence[str], code: int, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 for the command line, 1 for the rest; one line on stderr, no traceback, no data set."""
    monkeypatch.setitem(
        sys.modules, "ray", types.SimpleNamespace(__spec__=object())
    )  # it is asked for too late to matter
    Path("file").touch()
    assert collect(*words) == code
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.strip() and "recording" not in line]
    assert len(lines) == 1, err
    assert message in lines[0]
    assert not out
    assert not list(Path().glob("d/*.parquet"))


def test_missing_ray_gets_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the extra the line says how to install it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert collect("--out", "d", "--ray", *TOY) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("Ray is missing: pip install 'worldmodel[ray]'")
    assert not Path("d").exists()


def test_other_settings_get_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """An existing data set with other settings is refused, untouched."""
    assert collect("--out", "d", "--episodes", 1, *TOY) == 0
    capsys.readouterr()
    assert collect("--out", "d", "--episodes", 2, "--policy", "random", *TOY) == 1
    assert "d holds a data set with policy explore, not random" in capsys.readouterr().err
    assert len(EpisodeDataset("d")) == 1


def test_full_disk_gets_one_line_and_keeps_what_is_finished() -> None:
    """A write that fails is one line; the episodes before it are intact, and the same command goes on later."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500))

    words = ("--out", "d", "--episodes", 40, *TOY)
    process = start(*words, preexec_fn=limit)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "File too large" in err
    assert "Traceback" not in err
    dataset = EpisodeDataset("d")
    assert len(dataset) < 40
    assert not any(dataset.verify(index) for index in range(len(dataset)))
    assert collect(*words) == 0
    assert len(EpisodeDataset("d")) == 40


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_recording_says_how_to_go_on(number: signal.Signals, code: int) -> None:
    """Ctrl-C and SIGTERM end a recording on the real engine at once, with its finished episodes and no engine left."""
    process = start("--out", "d", "--frames", 10**6, "--workers", 2, "--set", "frame_size=32")
    deadline = time.monotonic() + 60
    while not list(Path().glob("d/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    threads = Path(f"/proc/{process.pid}/task").glob("*/children")
    games = [int(pid) for children in threads for pid in children.read_text().split()]
    began = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert process.returncode == code
    assert "finished episodes are safe in d, the same command goes on" in err
    assert "Traceback" not in err
    engines = [
        link for link in Path("/proc").glob("[0-9]*/cwd") if any(f"engine-{pid}-" in target(link) for pid in games)
    ]
    assert games
    assert not engines
    assert not any(Path(f"/proc/{pid}").exists() for pid in games)
    assert not [found for pid in games for found in Path("/tmp").glob(f"worldmodel-engine-{pid}-*")]


def target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""
