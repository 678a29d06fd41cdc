"""Who may talk to the server: exact Host, exact Origin, the token, in every combination, over HTTP and WebSocket."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from worldmodel.play.guard import Guard

PORT, TOKEN = 8765, "Zq3-the_token"
HOST, ORIGIN = f"127.0.0.1:{PORT}", f"http://127.0.0.1:{PORT}"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request, and the HTTP status it gets; 200 means that it went through."""

    about: str
    status: int
    kind: str = "http"
    method: str = "GET"
    path: str = f"/{TOKEN}/"
    host: str | None = HOST
    origin: str | None = None
    more: list[tuple[str, str]] = field(default_factory=list)


def http(about: str, status: int, **changes: Any) -> Case:
    return Case(about=f"http {about}", status=status, **changes)


def websocket(about: str, status: int, **changes: Any) -> Case:
    settings = {"path": f"/{TOKEN}/play", "origin": ORIGIN} | changes
    return Case(about=f"websocket {about}", status=status, kind="websocket", **settings)


WRONG_HOSTS = [
    None, "", "127.0.0.1", "127.0.0.1:80", "127.0.0.1:87650", "127.0.0.1.:8765", "localhost", "localhost:8766",
    "LOCALHOST:8765", "[::1]:8765", "0.0.0.0:8765", "evil.example:8765", "127.0.0.1.evil.example:8765",
    "127.0.0.1:8765.evil.example", "evil.example@127.0.0.1:8765",
]  # fmt: skip
WRONG_ORIGINS = [
    "null", "", "http://127.0.0.1", "https://127.0.0.1:8765", "http://localhost:8765", "http://127.0.0.1:8766",
    "http://127.0.0.1:8765/", "http://127.0.0.1:8765.evil.example", "http://evil.example", "file://",
    "HTTP://127.0.0.1:8765", "chrome-extension://abc",
]  # fmt: skip
WRONG_PATHS = [
    "", "/", "/play", "//", f"//{TOKEN}/", f"/{TOKEN}x/", f"/{TOKEN[:-1]}/", f"/{TOKEN.upper()}/", f"/x/{TOKEN}/",
    "/ü/", f"/{TOKEN}%2f",
]  # fmt: skip
CASES = [
    http("the page", 200),
    http("by the other name", 200, host=f"localhost:{PORT}"),
    http("with its own origin", 200, origin=ORIGIN),
    http("HEAD", 200, method="HEAD"),
    websocket("the page", 200),
    websocket("by the other name", 200, host=f"localhost:{PORT}", origin=f"http://localhost:{PORT}"),
    *(http(f"host {host}", 403, host=host) for host in WRONG_HOSTS),
    *(websocket(f"host {host}", 403, host=host) for host in WRONG_HOSTS),
    *(http(f"origin {origin}", 403, origin=origin) for origin in WRONG_ORIGINS),
    *(websocket(f"origin {origin}", 403, origin=origin) for origin in [None, *WRONG_ORIGINS]),
    *(http(f"path {path}", 403, path=path) for path in WRONG_PATHS),
    *(websocket(f"path {path}", 403, path=path) for path in WRONG_PATHS),
    *(http(method, 405, method=method) for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")),
    http("two hosts", 403, more=[("host", HOST)]),
    http("two origins", 403, origin=ORIGIN, more=[("origin", "http://evil.example")]),
    websocket("two hosts", 403, more=[("host", HOST)]),
    websocket("two origins", 403, more=[("origin", "http://evil.example")]),
    http("a long path", 414, path=f"/{TOKEN}/" + "x" * 600),
    http("long headers", 431, more=[("cookie", "x" * 20_000)]),
    websocket("long headers", 403, more=[("cookie", "x" * 20_000)]),
]


def status(case: Case) -> tuple[int, dict[str, str], str]:
    """The status, headers and path that the app behind the guard saw."""
    sent: list[Message] = []
    seen = ""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal seen
        seen = scope["path"]
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "websocket.accept"})

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    headers = [("host", case.host), ("origin", case.origin), *case.more]
    raw = [(name.encode(), value.encode()) for name, value in headers if value is not None]
    scope = {"type": case.kind, "path": case.path, "method": case.method, "headers": raw, "query_string": b""}
    asyncio.run(Guard(app, port=PORT, token=TOKEN)(scope, receive, send))
    first = sent[0]
    if case.kind == "websocket":
        return (200 if first["type"] == "websocket.accept" else 403), {}, seen
    return first["status"], {name.decode(): value.decode() for name, value in first["headers"]}, seen


@pytest.mark.parametrize("case", CASES, ids=[case.about for case in CASES])
def test_only_our_page_gets_through(case: Case) -> None:
    """A request gets through only if everything about it is right, and what is refused reaches nothing."""
    answer, _, seen = status(case)
    assert answer == case.status
    assert bool(seen) == (case.status == 200)
    assert TOKEN not in seen


def test_there_are_sixty_cases() -> None:
    """The table is as long as was promised."""
    assert len(CASES) >= 60


@pytest.mark.parametrize("case", [http("the page", 200), http("refused", 403, host="evil.example")], ids=["page", "no"])
def test_every_response_has_the_security_headers(case: Case) -> None:
    """No inline script or style, no foreign source, no frame around it, no type guessing, no referrer, no cache."""
    _, headers, _ = status(case)
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
