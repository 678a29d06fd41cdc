"""One open page, played by a client without a screen over the real WebSocket."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from tests.play.serving import Served
from worldmodel.play import connection
from worldmodel.play.client import Client
from worldmodel.play.library import Library
from worldmodel.play.real import RealGame
from worldmodel.rollouts import EpisodeDataset
from worldmodel.video.mp4 import read_video


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    """A page that has been opened and has shown its first frame."""
    with Client(served.link) as opened:
        opened.frame()
        yield opened


def test_begins_with_the_last_real_frame(served: Served, library: Library) -> None:
    """A page is told about the game and sees the last real frame, before anything is imagined."""
    with Client(served.link) as client:
        game = client.wait_for("game")
        assert game["checkpoint"] == "toy-model"
        assert "maze" in game["checkpoints"]
        first = client.frame()
    context = library.load(library.first).starts[0].context
    np.testing.assert_array_equal(first.images["imagined"], context.frames[-1])
    assert first.header["number"] == 0
    assert first.header["action"] is None


def test_keys_decide_what_is_done(client: Client) -> None:
    """A step does what is held down then, and says which state of the keys it has seen."""
    for number, (pressed, action) in enumerate([(("forward",), "forward"), (("left",), "left"), ((), "noop")], 1):
        frame = client.step(*pressed)
        assert frame.header["action"] == action
        assert frame.header["number"] == frame.header["keys"] == number


def test_newest_keys_win(client: Client) -> None:
    """Of several changes before a frame only the last one counts, and one that comes too late is forgotten."""
    client.press("forward")
    client.press("left")
    client.press("right")
    client.send("keys", pressed=["forward"], number=1)
    client.send("step")
    assert client.frame().header["action"] == "right"


def test_one_frame_is_in_flight(client: Client) -> None:
    """As long as a page has not shown a frame it gets no other, and what it then gets is new."""
    client.send("pace", pace="fast")
    first = client.frame(acknowledge=False)
    with pytest.raises(TimeoutError):
        client.frame(timeout=0.5)
    client.press("left")
    client.send("ack", frame=first.header["frame"])
    assert client.frame().header["action"] == "left"


def test_time_passes_as_in_the_game(client: Client) -> None:
    """Real time is the game's rate, slow a quarter of it, and a paused game stands still."""
    for pace, rate, count in (("real", 8.75, 9), ("slow", 8.75 / 4, 3)):
        client.send("pace", pace=pace)
        frames = [client.frame() for _ in range(count + 1)]
        measured = count / (frames[-1].received - frames[0].received)
        assert measured == pytest.approx(rate, rel=0.25)
    client.send("pace", pace="paused")
    with contextlib.suppress(TimeoutError):
        client.frame(timeout=0.3)  # one may have been on its way
    with pytest.raises(TimeoutError):
        client.frame(timeout=0.5)


def test_real_and_both(client: Client, library: Library) -> None:
    """The view changes at any time, and the real picture is the engine's under the same keys."""
    loaded = library.load(library.first)
    names = loaded.simulator.action_names
    engine = RealGame(loaded.starts[0].context, names)
    client.step("forward")
    client.send("show", view="both")
    both = client.frame()
    assert both.header["views"] == ["imagined", "real"]
    np.testing.assert_array_equal(both.images["real"], engine.follow([names.index("forward")]))
    client.send("show", view="real")
    assert set(client.frame().images) == {"real"}
    stepped = client.step("left")
    np.testing.assert_array_equal(stepped.images["real"], engine.follow([names.index("forward"), names.index("left")]))
    client.send("show", view="imagined")
    assert set(client.frame().images) == {"imagined"}


def test_same_seed_same_frames(client: Client, library: Library) -> None:
    """Reset with a seed gives the same game again; another seed, start or temperature another one."""

    def play(start: str, seed: int, temperature: float = 1.0) -> list[np.ndarray]:
        client.send("begin", checkpoint="toy-model", start=start, seed=seed)
        client.frame()
        client.send("temperature", temperature=temperature)
        return [client.step("forward").images["imagined"] for _ in range(3)]

    starts = [start.name for start in library.load(library.first).starts]
    first = play(starts[0], 5)
    np.testing.assert_array_equal(play(starts[0], 5), first)
    for other in (play(starts[0], 6), play(starts[1], 5), play(starts[0], 5, 0.0), play("live", 5)):
        assert not np.array_equal(other, first)


def test_script_replays_every_frame(client: Client) -> None:
    """What is shared, played by another page, shows the same frames."""
    client.send("begin", checkpoint="toy-model", start="", seed=3)
    client.frame()
    frames = [client.step(*pressed).images["imagined"] for pressed in (("forward",), ("forward", "left"), ())]
    client.send("temperature", temperature=0.5)
    frames.append(client.step("right").images["imagined"])
    client.send("share")
    text = client.wait_for("script")["script"]
    with Client(client.link) as other:
        other.frame()
        other.send("replay", script=text)
        assert other.frame().header["number"] == 0
        other.send("pace", pace="fast")
        for expected in frames:
            np.testing.assert_array_equal(other.frame().images["imagined"], expected)
        other.wait_for("status")


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("nonsense", "a script is written"),
        ("nowhere~~0~1x1", "a script is written"),
        ("nowhere~0@0~0~1x1", "no checkpoint named"),
        ("toy-model~9@9~0~1x1", "no start named"),
        ("toy-model~live~0~99x1", "an action that toy-model does not know"),
    ],
)
def test_bad_scripts_are_explained(client: Client, script: str, says: str) -> None:
    """A script that cannot be played is a message, and the game goes on."""
    client.send("replay", script=script)
    assert says in client.wait_for("problem")["message"]
    assert client.step("forward").header["action"] == "forward"


def test_recording(client: Client, served: Served) -> None:
    """A recording is a video of what was seen and a real episode; the page gets the video."""
    client.send("show", view="both")
    client.frame()
    client.send("record", on=True)
    client.wait_for("recording")
    for _ in range(4):
        client.step("forward")
    client.send("record", on=False)
    header, (video,) = client.receive()
    while header["type"] != "recorded":
        header, (video,) = client.receive()
    path = Path(header["video"])
    assert path.parent == served.out
    assert path.read_bytes() == video
    assert len(read_video(path, frame_size=32, frames_per_second=8.75)) == 4
    dataset = EpisodeDataset(header["episodes"])
    assert dataset.verify(0) is None
    assert list(dataset.episode(0).actions[-4:]) == [dataset.info.action_names.index("forward")] * 4


@pytest.mark.parametrize(
    "message", ["", "[]", '{"type":"step","x":1}', '{"type":"ack","frame":-1}', "x" * 20_000, b"\x00\x01"]
)
def test_foreign_messages_end_the_game(client: Client, message: str | bytes) -> None:
    """Who says what no page of ours says is cut off; too long a message is not even read."""
    client.send_raw(message)
    with pytest.raises(ConnectionClosed) as closed:
        client.wait_for("never")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code in {1008, 1009}


def test_too_many_commands_end_the_game(served: Served) -> None:
    """Commands that pile up while a frame is not taken are not kept without limit."""
    with Client(served.link) as client:
        client.frame(acknowledge=False)
        for _ in range(connection.MAX_WAITING + 1):
            client.send("share")
        with pytest.raises(ConnectionClosed):
            client.wait_for("never")


def test_a_page_that_takes_nothing_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not show its frames is gone after the time that it has."""
    monkeypatch.setattr(connection, "SLOW_SECONDS", 0.3)
    with Client(served.link) as client:
        client.frame(acknowledge=False)
        began = time.monotonic()
        with pytest.raises(ConnectionClosed) as closed:
            client.receive()
        assert time.monotonic() - began < 2
        assert closed.value.rcvd is not None
        assert "does not take its frames" in closed.value.rcvd.reason


def test_leaving_in_the_middle_of_a_frame(served: Served) -> None:
    """Pages that vanish at any moment leave the server as it was, for any number of them."""
    for _ in range(6):
        client = Client(served.link)
        client.frame()
        client.send("pace", pace="fast")
        client.send("show", view="both")
        client.send("record", on=True)
        client.abort()
    deadline = time.monotonic() + 20
    while True:
        with Client(served.link) as client:
            try:
                assert client.step("forward").header["action"] in {"forward", None}
                return
            except ConnectionClosed:  # the games of the others are still being put away
                assert time.monotonic() < deadline
                time.sleep(0.1)
