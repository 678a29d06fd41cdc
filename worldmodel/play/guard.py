"""Who may talk to the page's server: our own page, on this machine, with the token, and nobody else."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REFUSED = 1008  # the WebSocket close code of a policy violation
MAX_PATH = 512
MAX_HEADER_BYTES = 16 * 1024


def security_headers(port: int) -> Mapping[str, str]:
    """Return the headers of every response: nothing is loaded but our own files, and nobody may frame the page."""
    sockets = f"ws://127.0.0.1:{port} ws://localhost:{port}"
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data: blob:",
        "connect-src": f"'self' {sockets}",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
        "Cache-Control": "no-store",
    }


class Guard:
    """Lets a request through to `app` only if it names this server, comes from its page, and begins with the token.

    The exact Host keeps out other names for 127.0.0.1 (DNS rebinding), the exact Origin other pages in the same
    browser, and the token, the first part of every path, other users of the machine.
    """

    def __init__(self, app: ASGIApp, *, port: int, token: str) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._headers = security_headers(port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        problem, status = self._problem(scope)
        if scope["type"] == "websocket":
            if problem:
                await send({"type": "websocket.close", "code": REFUSED, "reason": problem})
            else:
                await self._app(_without_token(scope), receive, send)
            return
        answer: ASGIApp = PlainTextResponse(problem + "\n", status) if problem else self._app
        await answer(_without_token(scope), receive, self._with_headers(send))

    def _problem(self, scope: Scope) -> tuple[str, int]:
        """Return what is wrong with a request, empty if nothing, and the HTTP status that says so."""
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
            return "the headers are too long", 431
        if len(scope["path"]) > MAX_PATH:
            return "the path is too long", 414
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return "this server answers to 127.0.0.1 and its own port only", 403
        needs_origin = scope["type"] == "websocket"
        if (needs_origin or origins) and origins != [f"http://{hosts[0]}"]:
            return "this server answers to its own page only", 403
        if not secrets.compare_digest(_split(scope["path"])[0].encode("utf-8", "replace"), self._token):
            return "the token is missing or wrong: open the link that `worldmodel play` has printed", 403
        if scope["type"] == "http" and scope["method"] not in {"GET", "HEAD"}:
            return "this server can only be read", 405
        return "", 200

    def _with_headers(self, send: Send) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.lower().encode(), value.encode()) for name, value in self._headers.items()]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        return send_with_headers


def _split(path: str) -> tuple[str, str]:
    """Return the first part of a path and the rest."""
    token, slash, rest = path.removeprefix("/").partition("/")
    return token, slash + rest


def _without_token(scope: Scope) -> Scope:
    rest = _split(scope["path"])[1]
    return {**scope, "path": rest, "raw_path": rest.encode(), "root_path": ""}
