"""The server: its files, its limits, and that it talks to nobody."""

from __future__ import annotations

import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.play.serving import Served, serving
from worldmodel.play.client import Client
from worldmodel.play.library import Library
from worldmodel.play.server import ASSETS, MAX_GAMES, PAGE, listen


def test_every_asset_is_served(served: Served) -> None:
    """The files of the table, byte for byte, with their type; what the page names is in the table."""
    for path, (name, kind) in ASSETS.items():
        answer = httpx.get(served.link + path.removeprefix("/"))
        assert answer.status_code == 200
        assert answer.content == (PAGE / name).read_bytes()
        assert answer.headers["content-type"] == kind
    assert {name for name, _ in ASSETS.values()} == {file.name for file in PAGE.iterdir()}
    html = (PAGE / "index.html").read_text()
    for name in re.findall(r'(?:src|href)="([^"]+)"', html):
        assert f"/{name}" in ASSETS
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|https?://", html)


@pytest.mark.parametrize(
    "path",
    ["nothing", "page.py", "../server.py", "%2e%2e/server.py", "page/index.html", "index.html", ".", "/", "play"],
)
def test_there_is_no_other_file(served: Served, path: str) -> None:
    """Nothing but the table can be read, however it is asked for."""
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        host = f"127.0.0.1:{served.port}"
        request = f"GET /{served.token}/{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        client.sendall(request.encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    status = int(answer.split()[1])
    assert status in (403, 404) or (path == "." and status == 200)


def test_refused_without_the_token(served: Served) -> None:
    """The real server refuses both kinds of request, and says in words what to do."""
    answer = httpx.get(f"http://127.0.0.1:{served.port}/")
    assert answer.status_code == 403
    assert "open the link" in answer.text
    for link, origin in ((f"ws://127.0.0.1:{served.port}/play", None), (served.link.replace("http", "ws"), "null")):
        with pytest.raises(InvalidStatus), connect(link + "play", origin=origin, proxy=None):  # type: ignore[arg-type]
            pass


def test_limit_of_open_games(served: Served) -> None:
    """One page more than the limit is sent away with a reason, until another is closed."""
    clients = [Client(served.link) for _ in range(MAX_GAMES)]
    try:
        for client in clients:
            client.frame()
        with Client(served.link) as late, pytest.raises(ConnectionClosed) as closed:
            late.receive()
        assert closed.value.rcvd is not None
        assert "close another page" in closed.value.rcvd.reason
        clients.pop().close()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with Client(served.link) as again:
                try:
                    again.frame()
                    return
                except ConnectionClosed:
                    time.sleep(0.05)
        pytest.fail("a closed page still counts")
    finally:
        for client in clients:
            client.close()


def test_port_that_is_taken() -> None:
    """One clear line says what to do."""
    with listen(0) as listener, pytest.raises(OSError, match=r"is taken.*choose one with --port"):
        listen(listener.getsockname()[1])


def test_listens_on_this_machine_only(served: Served) -> None:
    """Nothing listens on another address."""
    with listen(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_restart_on_the_same_port(library: Library, tmp_path: Path) -> None:
    """A server that was ended leaves its port at once; the old link is refused, the new one works."""
    with serving(library, tmp_path) as first, Client(first.link) as client:
        client.frame()
    with serving(library, tmp_path, port=first.port) as second:
        with pytest.raises(InvalidStatus):
            Client(first.link)
        with Client(second.link) as client:
            assert client.step("forward").header["action"] is None or client.frame()


watched: list[str] = []
watching = False


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if watching and event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}:
        watched.append(f"{event} {arguments[0] if event == 'socket.getaddrinfo' else arguments[1]}")


@pytest.fixture
def connections() -> Iterator[list[str]]:
    """Every connection and every look-up of a name that Python makes while the test runs."""
    global watching
    sys.addaudithook(watch)
    watched.clear()
    watching = True
    yield watched
    watching = False


def test_nothing_leaves_the_machine(connections: list[str], library: Library, tmp_path: Path) -> None:
    """A game, with the real one beside it and a recording, connects to nothing but itself and looks up no name."""
    with serving(library, tmp_path) as served, Client(served.link) as client:
        client.frame()
        client.send("show", view="both")
        client.frame()
        client.send("record", on=True)
        client.step("forward")
        client.send("record", on=False)
        client.wait_for("recorded")
    assert connections
    for said in connections:
        assert "127.0.0.1" in said, said


@pytest.mark.slow
def test_fifty_clients_that_never_read(served: Served) -> None:
    """They cost less than 32 MiB and are all cut off within five seconds."""
    with Client(served.link) as client:
        client.frame()
    before = resident_mib()
    request = (
        f"GET /{served.token}/play HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
        f"Origin: http://127.0.0.1:{served.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()
    clients = []
    for _ in range(50):
        client = socket.create_connection(("127.0.0.1", served.port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(request)
        clients.append(client)
    time.sleep(5.5)
    growth = resident_mib() - before
    for client in clients:  # whatever is in the buffers, then the end
        client.settimeout(0.5)
        while client.recv(65536):
            pass
        client.close()
    assert growth < 32


def resident_mib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20
