"""A page without a screen: it plays over the real WebSocket, for measurements and tests."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from websockets.sync.client import connect
from websockets.typing import Origin

from .protocol import unpack

SECONDS = 60.0  # loading a checkpoint takes a few


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What the server has sent of one frame: its header, and the pictures, uint8 (H, W, 3), by view."""

    header: Mapping[str, Any]
    images: Mapping[str, np.ndarray]
    received: float  # time.perf_counter() once the pictures were decoded


class Client:
    """Connects to the link that `worldmodel play` prints, as its own page does.

    Raises:
        OSError, websockets.exceptions.WebSocketException: if the server refuses.
    """

    def __init__(self, link: str) -> None:
        self.link = link
        parts = urlsplit(link)
        url = f"ws://{parts.netloc}{parts.path}play"
        connection = connect(url, origin=Origin(f"http://{parts.netloc}"), max_size=None, compression=None, proxy=None)
        self._socket = connection.__enter__()
        self._keys = 0

    def send(self, kind: str, **content: Any) -> None:
        """Send a message."""
        self.send_raw(json.dumps({"type": kind, **content}))

    def send_raw(self, message: str | bytes) -> None:
        """Send something that need not be a message."""
        self._socket.send(message)

    def press(self, *names: str) -> int:
        """Hold down these buttons and no others from now on; return the number of this state of the keys."""
        self._keys += 1
        self.send("keys", pressed=list(names), number=self._keys)
        return self._keys

    def receive(self, *, timeout: float = SECONDS) -> tuple[dict[str, Any], list[bytes]]:
        """Return the next message, header and blobs.

        Raises:
            TimeoutError: if none comes in time.
        """
        message = self._socket.recv(timeout=timeout)
        assert isinstance(message, bytes)
        return unpack(message)

    def wait_for(self, kind: str, *, timeout: float = SECONDS) -> dict[str, Any]:
        """Take messages, frames too, until one of `kind` comes, and return its header.

        Raises:
            TimeoutError: if none comes in time.
        """
        deadline = time.monotonic() + timeout
        while True:
            header, _ = self.receive(timeout=deadline - time.monotonic())
            if header["type"] == "frame":
                self.send("ack", frame=header["frame"])
            if header["type"] == kind:
                return header

    def frame(self, *, timeout: float = SECONDS, acknowledge: bool = True) -> Frame:
        """Return the next frame; other messages are skipped.

        Raises:
            TimeoutError: if none comes in time.
        """
        deadline = time.monotonic() + timeout
        while True:
            header, blobs = self.receive(timeout=max(0.0, deadline - time.monotonic()))
            if header["type"] != "frame":
                continue
            images = {view: _decode(blob) for view, blob in zip(header["views"], blobs, strict=True)}
            received = time.perf_counter()
            if acknowledge:
                self.send("ack", frame=header["frame"])
            return Frame(header=header, images=images, received=received)

    def step(self, *names: str) -> Frame:
        """Press these buttons for a single step of the paused game and return the frame it leads to."""
        self.press(*names)
        self.send("step")
        return self.frame()

    def close(self) -> None:
        """Leave the game."""
        self._socket.close()

    def abort(self) -> None:
        """Vanish, as a page does whose machine has lost its network."""
        self._socket.socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


def _decode(blob: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(blob)))
