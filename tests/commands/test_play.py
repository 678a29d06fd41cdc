"""The play command: its link, what it says when it cannot serve, and a game that stays as large as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.play.serving import save_model
from tests.worlds import record_toy
from worldmodel.commands import main
from worldmodel.commands.play import has_screen
from worldmodel.play.client import Client
from worldmodel.play.server import listen

WARM_UP_SECONDS, SECONDS = 20, 60


def words(path: Path) -> list[str]:
    """A tiny checkpoint and where its games begin, as options."""
    model, data = path / "model", path / "data"
    if not model.exists():
        save_model(model)
        record_toy(data, episodes=2)
    return ["--checkpoint", str(model), "--from", str(data)]


@contextmanager
def playing(options: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command in a process of its own; its first line is the link."""
    command = [sys.executable, "-m", "worldmodel", "play", "--no-browser", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().rstrip("\n")
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@pytest.mark.slow
def test_prints_its_link_and_ends_quietly(tmp_path: Path) -> None:
    """The link stands alone on stdout, it works, and Ctrl-C ends the command without a traceback."""
    with playing(words(tmp_path)) as (process, link):
        with Client(link) as client:
            client.frame()
            assert client.step("forward").header["action"] == "forward"
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
    assert out == ""
    assert "Traceback" not in errors
    assert process.returncode in (0, 130)


SLOW = """
import sys, time
from worldmodel.commands import main
from worldmodel.play import server, session
step = session.Session.step
def slow_step(self, action):
    print("begun", flush=True)
    time.sleep(1.5)
    return step(self, action)
session.Session.step, server.SHUTDOWN_SECONDS = slow_step, 1
sys.exit(main(["play", "--no-browser", "--port", "0", *sys.argv[1:]]))
"""


@pytest.mark.slow
def test_ends_quietly_in_the_middle_of_a_frame(tmp_path: Path) -> None:
    """On a busy machine a frame may take longer than the server waits: Ctrl-C prints no traceback then, either, and
    the recording is finished."""
    options = [*words(tmp_path), "--out", str(tmp_path / "played")]
    command = [sys.executable, "-c", SLOW, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with Client(process.stdout.readline().rstrip("\n")) as client:
            client.frame()
            client.send("record", on=True)
            client.step("forward")
            client.send("step")
            assert [process.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors
    assert process.returncode in (0, 130)
    assert [file.name for file in (tmp_path / "played").iterdir()] == ["play-0001.mp4"]


def test_taken_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A port that is in use is one clear line, before the model is loaded."""
    with listen(0) as listener:
        port = listener.getsockname()[1]
        assert main(["play", "--no-browser", "--port", str(port), *words(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert f"port {port} is taken" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_no_such_port(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A port out of range is a mistake of the command line."""
    assert main(["play", "--port", port]) == 2
    assert "--port must be 0 to 65535" in capsys.readouterr().err


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the page's packages are missing it says what to install."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["play", "--no-browser"]) == 1
    assert "pip install -e '.[web]'" in capsys.readouterr().err


@pytest.mark.parametrize("checkpoint", ["nowhere", "maz"])
def test_no_such_checkpoint(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a directory nor a name of the gallery: one line."""
    assert main(["play", "--no-browser", "--port", "0", "--checkpoint", checkpoint]) == 1
    assert f"no checkpoint at {checkpoint}" in capsys.readouterr().err


def test_no_browser_without_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a server no browser is started, which would take the terminal."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not has_screen()
    monkeypatch.setenv("DISPLAY", ":0")
    assert has_screen()


def test_no_window_without_a_screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is loaded, one line says what to do instead."""
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    assert main(["play", "--window"]) == 1
    error = capsys.readouterr().err
    assert "there is no screen for a window: leave out --window" in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_memory_is_flat() -> None:
    """A minute of random keys at full speed, with the shipped checkpoint, grows by less than 32 MiB."""
    rng = np.random.default_rng(0)
    with playing([]) as (process, link), Client(link) as client:
        client.frame()
        client.send("show", view="both")
        client.frame()
        client.send("pace", pace="fast")
        before = 0.0
        began = time.monotonic()
        frames = 0
        while time.monotonic() - began < WARM_UP_SECONDS + SECONDS:
            client.press(*map(str, rng.choice(["forward", "left", "right", "strafe_left"], 2, replace=False)))
            for _ in range(5):
                client.frame()
                frames += 1
            if not before and time.monotonic() - began > WARM_UP_SECONDS:
                before = resident_mib(process.pid)
        growth = resident_mib(process.pid) - before
    assert frames > 100
    assert growth < 32, f"{growth:.1f} MiB in {frames} frames"


def resident_mib(pid: int) -> float:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
