"""`config.json` is as it was written, describes a checkpoint, and names nothing outside of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worldmodel.checkpoints.index import FILE, read_index, write_index

SHARD = f"model-00001-of-00001-{'a' * 12}.safetensors"
INDEX: dict[str, Any] = {
    "schema": 1,
    "kind": "tokenizer",
    "config": {"frames_per_second": 8.75, "codebook_size": 512},
    "metrics": {"psnr": 33.0},
    "files": {SHARD: "0" * 64},
}


def test_write_then_read_is_the_identity(tmp_path: Path) -> None:
    """All that was written comes back, with its SHA-256."""
    write_index(tmp_path, INDEX)
    index = read_index(tmp_path, kind="tokenizer")
    assert len(index.pop("sha256")) == 64
    assert index == INDEX


def test_an_older_index_has_no_checksum(tmp_path: Path) -> None:
    """What was written before there were any is read, and can be told."""
    (tmp_path / FILE).write_text(json.dumps(INDEX))
    assert read_index(tmp_path) == INDEX


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_every_flipped_bit_is_found(tmp_path: Path, place: int, bit: int) -> None:
    """One wrong bit is refused, or was in a space between two words."""
    write_index(tmp_path, INDEX)
    written = read_index(tmp_path)
    data = bytearray((tmp_path / FILE).read_bytes())
    data[place % len(data)] ^= 1 << bit
    (tmp_path / FILE).write_bytes(data)
    try:
        found = read_index(tmp_path)
    except ValueError:
        return
    assert found == written


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 9}, "has schema 9"),
        ({"schema": True}, "'schema' is no int"),
        ({"kind": "dynamics"}, "is a dynamics checkpoint, not a tokenizer"),
        ({"kind": ["tokenizer"]}, "'kind' is no str"),
        ({"kind": "\x1b[2J"}, "'kind' is no name"),
        ({"config": []}, "'config' is no dict"),
        ({"config": None}, "'config' is no dict"),
        ({"files": [1]}, "'files' is no dict"),
        ({"files": {"../secret.txt": "0" * 64}}, "which is not a shard's name"),
        ({"files": {f"../outside/{SHARD}": "0" * 64}}, "which is not a shard's name"),
        ({"files": {"/dev/zero": "0" * 64}}, "which is not a shard's name"),
        ({"files": {SHARD: None}}, "does not say the SHA-256"),
        ({"more": 1}, "does not describe a checkpoint"),
    ],
)
def test_what_describes_no_checkpoint_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Signed or not, types and names are judged; nothing outside of the directory is opened."""
    for write in (write_index, lambda path, content: (path / FILE).write_text(json.dumps(content))):
        write(tmp_path, INDEX | change)
        with pytest.raises(ValueError, match=message) as caught:
            read_index(tmp_path, kind="tokenizer")
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("\udcff", "is not JSON"),
        ("1" * 5000, "is not JSON"),
        ("[]", "does not describe"),
        ('{"schema": 1}', "does not describe"),
    ],
)
def test_what_is_no_index_is_refused(text: str, message: str, tmp_path: Path) -> None:
    """Whatever else lies there under that name is one line."""
    (tmp_path / FILE).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=message):
        read_index(tmp_path)


def test_no_checkpoint_a_file_and_a_pipe_are_told_apart(tmp_path: Path) -> None:
    """A missing directory, a file in its place, and an index that is a pipe are refused in one line each."""
    with pytest.raises(ValueError, match="no tokenizer checkpoint at"):
        read_index(tmp_path / "nowhere", kind="tokenizer")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        read_index(tmp_path / "file")
    os.mkfifo(tmp_path / FILE)
    with pytest.raises(ValueError, match="is no regular file"):
        read_index(tmp_path)
