"""What page and server say to each other: exactly the messages of the table, and nothing that merely looks like one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldmodel.play import protocol
from worldmodel.play.protocol import ProtocolError, pack, parse, unpack

GOOD: dict[str, dict[str, Any]] = {
    "begin": {"checkpoint": "maze", "start": "", "seed": 0},
    "keys": {"pressed": ["forward", "left"], "number": 1},
    "ack": {"frame": 1},
    "pace": {"pace": "real"},
    "step": {},
    "show": {"view": "both"},
    "temperature": {"temperature": 1},
    "record": {"on": True},
    "share": {},
    "replay": {"script": "maze~6@38~0~1x1"},
}
BAD: list[Any] = [
    "",
    "{",
    "[]",
    "null",
    "1",
    '"keys"',
    "NaN",
    "[" * 10_000,
    '{"type": NaN}',
    {},
    {"type": 1},
    {"type": "Begin"},
    {"type": "__class__"},
    {"type": "step", "extra": 1},
    {"type": "ack"},
    {"type": "ack", "frame": "1"},
    {"type": "ack", "frame": 1.0},
    {"type": "ack", "frame": True},
    {"type": "ack", "frame": -1},
    {"type": "ack", "frame": 2**60},
    {"type": "ack", "frame": None},
    {"type": "keys", "pressed": "forward", "number": 1},
    {"type": "keys", "pressed": [1], "number": 1},
    {"type": "keys", "pressed": ["x"] * 13, "number": 1},
    {"type": "keys", "pressed": ["x" * 81], "number": 1},
    {"type": "keys", "pressed": {"forward": 1}, "number": 1},
    {"type": "begin", "checkpoint": "x" * 81, "start": "", "seed": 0},
    {"type": "begin", "checkpoint": "maze", "start": "", "seed": 1_000_000},
    {"type": "begin", "checkpoint": "maze", "start": 3, "seed": 0},
    {"type": "pace", "pace": "warp"},
    {"type": "pace", "pace": ["real"]},
    {"type": "show", "view": "none"},
    {"type": "temperature", "temperature": -0.1},
    {"type": "temperature", "temperature": 2.1},
    {"type": "temperature", "temperature": True},
    '{"type": "temperature", "temperature": NaN}',
    '{"type": "temperature", "temperature": Infinity}',
    '{"type": "temperature", "temperature": 1e999}',
    {"type": "record", "on": 1},
    {"type": "record", "on": "true"},
    {"type": "replay", "script": "x" * 8193},
    {"type": "replay", "script": None},
    json.dumps({"type": "step"}) + " " * protocol.MAX_MESSAGE,
]


@pytest.mark.parametrize("kind", protocol.TYPES)
def test_good_messages(kind: str) -> None:
    """Each message of the table is understood, with its values."""
    message = parse(json.dumps({"type": kind, **GOOD[kind]}))
    assert type(message) is protocol.TYPES[kind]
    assert vars(message) == GOOD[kind]


@pytest.mark.parametrize("bad", BAD, ids=[str(bad)[:40] for bad in BAD])
def test_bad_messages(bad: Any) -> None:
    """Anything else is a protocol error, whatever it is."""
    with pytest.raises(ProtocolError):
        parse(bad if isinstance(bad, str) else json.dumps(bad))


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner))
)
def test_any_json_is_a_message_or_an_error(content: Any) -> None:
    """No JSON makes the parser fail in another way."""
    try:
        parse(json.dumps(content))
    except ProtocolError:
        return


@given(st.dictionaries(st.text(), st.integers()).filter(lambda d: "bytes" not in d), st.lists(st.binary()))
def test_binary_messages_come_back(header: dict[str, int], blobs: list[bytes]) -> None:
    """What is packed is unpacked."""
    assert unpack(pack(header, blobs)) == (header, blobs)
