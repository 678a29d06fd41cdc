"""What page and server say to each other: typed messages, checked strictly, and the form of a frame on the wire."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .script import MAX_LENGTH

MAX_MESSAGE = 16 * 1024  # bytes; a script is the longest thing that is said
MAX_PRESSED = 12
MAX_NAME = 80
MAX_SEED = 999_999
MAX_TEMPERATURE = 2.0

View = Literal["imagined", "real", "both"]
Pace = Literal["paused", "slow", "real", "fast"]


class ProtocolError(ValueError):
    """A message that no page of ours would send."""


@dataclass(frozen=True, kw_only=True)
class Begin:
    """Start anew: with a checkpoint of the gallery, from a start, with a seed."""

    checkpoint: str
    start: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Keys:
    """What is held down now, oldest press first; `number` counts the changes, so that a frame can say what it saw."""

    pressed: list[str]
    number: int


@dataclass(frozen=True, kw_only=True)
class Ack:
    """The frame of that number is on the screen: the next one may be sent."""

    frame: int


@dataclass(frozen=True, kw_only=True)
class SetPace:
    """How time passes."""

    pace: Pace


@dataclass(frozen=True, kw_only=True)
class Step:
    """One frame now, also while the game is paused."""


@dataclass(frozen=True, kw_only=True)
class Show:
    """Look at the imagined game, the real one, or both."""

    view: View


@dataclass(frozen=True, kw_only=True)
class SetTemperature:
    """Of the sampling, from now on."""

    temperature: float


@dataclass(frozen=True, kw_only=True)
class Record:
    """Begin or end a recording."""

    on: bool


@dataclass(frozen=True, kw_only=True)
class Share:
    """Tell the script of the game so far."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Play a script."""

    script: str


Message = Begin | Keys | Ack | SetPace | Step | Show | SetTemperature | Record | Share | Replay
TYPES: Mapping[str, type[Any]] = {
    "begin": Begin, "keys": Keys, "ack": Ack, "pace": SetPace, "step": Step, "show": Show,
    "temperature": SetTemperature, "record": Record, "share": Share, "replay": Replay,
}  # fmt: skip
LIMITS = {
    "seed": MAX_SEED, "number": 2**53, "frame": 2**53, "temperature": MAX_TEMPERATURE,
    "script": MAX_LENGTH, "checkpoint": MAX_NAME, "start": MAX_NAME, "pressed": MAX_PRESSED,
}  # fmt: skip


def parse(text: str) -> Message:
    """Return the message that `text` is.

    Raises:
        ProtocolError: if it is too long, no JSON object, of no known type, has another field or misses one, or a value
            is of another type or out of range.
    """
    if len(text) > MAX_MESSAGE:
        raise ProtocolError(f"a message has at most {MAX_MESSAGE} characters")
    try:
        content = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a message is a JSON object") from error
    if not isinstance(content, dict) or not isinstance(content.get("type"), str):
        raise ProtocolError("a message is a JSON object with a type")
    kind = TYPES.get(content.pop("type"))
    if kind is None:
        raise ProtocolError("a message of no known type")
    expected = {field.name for field in fields(kind)}
    if content.keys() != expected:
        raise ProtocolError(f"a {kind.__name__} message has the fields {sorted(expected)}, got {sorted(content)[:8]}")
    hints = get_type_hints(kind)
    message: Message = kind(**{name: _value(name, content[name], hints[name]) for name in expected})
    return message


def _value(name: str, value: Any, kind: Any) -> Any:
    """Return `value` if it is a `kind` within the limits of the field `name`; a float may be written as an int."""
    if get_origin(kind) is typing.Literal:
        _require(isinstance(value, str) and value in get_args(kind), name)
        return value
    if get_origin(kind) is list:
        _require(isinstance(value, list) and len(value) <= LIMITS[name], name)
        _require(all(isinstance(part, str) and len(part) <= MAX_NAME for part in value), name)
        return value
    if kind is float and type(value) is int:
        value = float(value)
    _require(type(value) is kind, name)
    if kind is str:
        _require(len(value) <= LIMITS[name], name)
    elif kind in (int, float):
        _require(0 <= value <= LIMITS[name], name)
    return value


def _require(condition: bool, name: str) -> None:
    if not condition:
        raise ProtocolError(f"{name} has a value of another type or out of range")


def _no_constant(name: str) -> None:
    raise ValueError(name)


def pack(header: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """Return a binary message: the header's length in 4 bytes, big-endian, the header as JSON, then the blobs.

    The header gains `bytes`, the length of each blob.
    """
    text = json.dumps({**header, "bytes": [len(blob) for blob in blobs]}, separators=(",", ":")).encode()
    return b"".join([len(text).to_bytes(4, "big"), text, *blobs])


def unpack(message: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Return the header and the blobs of a binary message."""
    end = 4 + int.from_bytes(message[:4], "big")
    header: dict[str, Any] = json.loads(message[4:end])
    blobs = []
    for length in header.pop("bytes"):
        blobs.append(message[end : end + length])
        end += length
    return header, blobs
