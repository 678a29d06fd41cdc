"""Promises of `worldmodel play`: a server that is killed, and pages that vanish, are silent or never read."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import av
from websockets.exceptions import ConnectionClosed

from tests.faults.promises import SPAWN, Outcome, promise
from tests.play.serving import save_model, serving, tiny_library
from tests.worlds import record_toy
from worldmodel.play.client import Client

BACK_SECONDS = 20.0  # until the games of pages that are gone are put away
MAX_GROWTH_MIB = 32


@promise(5, briefly=2, is_slow=True)
def a_killed_server_is_started_again(work: Path, times: int, rng: random.Random) -> Outcome:
    """`play` killed while it records: what was recorded plays, and the same command serves on the same port"""
    model, data = save_model(work / "m"), record_toy(work / "d", episodes=2)
    words = ["play", "--no-browser", "--checkpoint", str(model), "--from", str(data), "--out", str(work / "o")]
    port, survived = 0, 0
    for _ in range(times + 1):
        with subprocess.Popen(
            [*SPAWN, *words, "--port", str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                assert process.stdout is not None
                link = process.stdout.readline().strip()
                port = urlsplit(link).port or 0
                with Client(link) as client:
                    client.frame()
                    client.send("record", on=True)
                    client.wait_for("recording")
                    for _ in range(rng.randrange(3, 12)):
                        client.step("forward")
            finally:
                process.kill()
        survived += all(map(_plays, (work / "o").rglob("*.mp4")))
    return Outcome(tried=times, survived=min(times, survived), figure=f"port {port} each time" if port else "")


def _plays(path: Path) -> bool:
    """Whether a frame of a video can be seen."""
    with av.open(str(path)) as video:
        return next(video.decode(video=0), None) is not None


@promise(100, is_slow=True)
def pages_that_leave_change_nothing(work: Path, times: int, rng: random.Random) -> Outcome:
    """pages that vanish in a frame, never read, or talk nonsense leave the server to the next page, and no memory"""
    with serving(tiny_library(work), work / "o") as served:
        with Client(served.link) as client:
            client.frame()
        before, slowest, survived = _resident_mib(), 0.0, 0
        for _ in range(times):
            page = _when_there_is_room(served.link)
            page.send("pace", pace="fast")
            _misbehave(page, rng)
            began = time.monotonic()
            with _when_there_is_room(served.link) as client:
                survived += client.step("forward").header["action"] in {"forward", None}
            slowest = max(slowest, time.monotonic() - began)
        growth = _resident_mib() - before
    figure = f"{growth:.1f} MiB more, the next page had a frame within {slowest:.1f} s"
    return Outcome(tried=times, survived=survived if growth < MAX_GROWTH_MIB else 0, figure=figure)


def _misbehave(page: Client, rng: random.Random) -> None:
    """Vanish, say nonsense, or take no frame any more; the page that was there is gone then."""
    how = rng.randrange(3)
    if how == 1:
        page.send_raw(rng.choice(["", "[]", '{"type":"step","x":1}', b"\x00\x01", "x" * 20_000]))
    elif how == 2:
        page.frame(acknowledge=False)
        page.send("record", on=True)
    page.abort()


def _when_there_is_room(link: str) -> Client:
    """Return a page that has its first frame; the games of others may still be being put away."""
    deadline = time.monotonic() + BACK_SECONDS
    while True:
        client = Client(link)
        try:
            client.frame()
            return client
        except ConnectionClosed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
