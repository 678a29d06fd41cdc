"""The server of the page: one fixed table of files, one WebSocket, on this machine only."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import secrets
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from ..imagination.truth import open_game
from . import protocol
from .connection import Connection
from .guard import Guard
from .library import Library
from .real import OpenGame

HOST = "127.0.0.1"
PORT = 8765
MAX_GAMES = 4  # open at once; each may have an engine
MAX_CONNECTIONS = 64
CLOSE_SECONDS = 1.0
SHUTDOWN_SECONDS = 5  # for frames in progress; after it they are given up
TRY_AGAIN = 1013
PAGE = Path(__file__).parent / "page"
# Path -> file and type. There is no other way to a file.
ASSETS = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/connection.js": ("connection.js", "text/javascript; charset=utf-8"),
    "/controls.js": ("controls.js", "text/javascript; charset=utf-8"),
    "/screen.js": ("screen.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Uvicorn's, but a client that does not answer a close is dropped after a second instead of ten."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.close_timeout = CLOSE_SECONDS


def make_app(library: Library, *, port: int, token: str, out: Path, open_game: OpenGame = open_game) -> ASGIApp:
    """Return the whole server behind its guard.

    Args:
        library: what can be played.
        port: where the server will listen: it answers to no other name.
        token: the first part of every path.
        out: where recordings go.
    """
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
    files = {path: (PAGE / name).read_bytes() for path, (name, _) in ASSETS.items()}
    games = 0

    async def asset(request: Request) -> Response:
        path = request.scope["path"]
        return Response(files[path], media_type=ASSETS[path][1])

    async def play(websocket: WebSocket) -> None:
        nonlocal games
        await websocket.accept()
        if games >= MAX_GAMES:
            with contextlib.suppress(OSError, RuntimeError):
                await websocket.close(TRY_AGAIN, f"{MAX_GAMES} games are open: close another page first")
            return
        games += 1
        try:
            await Connection(websocket, library, thread=thread, out=out, open_game=open_game).run()
        except asyncio.CancelledError:
            return  # the server ends in the middle of a long frame; uvicorn would print a traceback
        finally:
            games -= 1

    routes = [*(Route(path, asset) for path in ASSETS), WebSocketRoute("/play", play)]
    return Guard(Starlette(routes=routes), port=port, token=token)


def listen(port: int) -> socket.socket:
    """Return a socket that listens on `port` of this machine, 0 for any free one.

    Raises:
        OSError: in plain words, if the port is taken or not allowed.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(MAX_CONNECTIONS)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise OSError(f"port {port} is taken, perhaps by another game: choose one with --port (0: any)") from None
        raise OSError(f"cannot listen on port {port}: {error.strerror}") from None
    return listener


def new_token() -> str:
    """Return 128 random bits, as part of a link."""
    return secrets.token_urlsafe(16)


def make_server(app: ASGIApp) -> uvicorn.Server:
    """Return the HTTP server for `app`, with limits on whatever a client may send or leave open."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws=WebSocketProtocol,
            ws_max_size=protocol.MAX_MESSAGE,
            ws_ping_interval=20.0,
            ws_ping_timeout=20.0,
            ws_per_message_deflate=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            h11_max_incomplete_event_size=32 * 1024,
        )
    )
