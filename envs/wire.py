"""The messages between a game's process and the one that plays it: JSON, and beside it the bytes of a frame.

A message is two lengths (uint32, little-endian), the JSON text and the bytes. It goes over a Unix socket pair.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any

ALIVE = {"alive": True}  # says that the answer takes longer
LENGTHS = struct.Struct("<II")


class ClosedError(ConnectionError):
    """The other side has closed the connection, or is gone."""


def send(connection: socket.socket, message: Mapping[str, Any], content: bytes | memoryview = b"") -> None:
    """Send a message.

    Raises:
        ClosedError: if nobody listens any more.
    """
    text = json.dumps(message, separators=(",", ":")).encode()
    head = LENGTHS.pack(len(text), len(content)) + text
    try:
        sent = connection.sendmsg([head, content])
        if sent < len(head) + len(content):
            connection.sendall((head + bytes(content))[sent:])
    except OSError as error:
        raise ClosedError(str(error)) from error


def receive(connection: socket.socket, wait: Callable[[], None] = lambda: None) -> tuple[dict[str, Any], bytearray]:
    """Return the next message; `wait` is called before each read and may raise to give up.

    Raises:
        ClosedError: if there is none any more.
    """
    text_size, content_size = LENGTHS.unpack(_read(connection, LENGTHS.size, wait))
    text = _read(connection, text_size, wait)
    return json.loads(text), _read(connection, content_size, wait)


def _read(connection: socket.socket, size: int, wait: Callable[[], None]) -> bytearray:
    content = bytearray(size)
    view = memoryview(content)
    while view:
        wait()
        try:
            count = connection.recv_into(view)
        except OSError as error:
            raise ClosedError(str(error)) from error
        if not count:
            raise ClosedError("the connection was closed")
        view = view[count:]
    return content
