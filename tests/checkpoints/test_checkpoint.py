"""Checkpoints: what is written is read, damage is found, a save never harms the last good one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import worldmodel.checkpoints.checkpoint
from tests.models import tiny_tokenizer
from worldmodel.checkpoints import checkpoint
from worldmodel.checkpoints.checkpoint import Checkpoint, build, load_weights, read, read_index, write
from worldmodel.checkpoints.index import write_index
from worldmodel.tokenizer.model import Tokenizer


def make(seed: int = 0, **changes: object) -> Checkpoint:
    generator = torch.Generator().manual_seed(seed)
    tensors = {"a.weight": torch.randn(5, 7, generator=generator), "b": torch.tensor(True), "c": torch.arange(3)}
    values = {"kind": "tokenizer", "config": {"x": 1}, "metrics": {"psnr": 33.0}, "tensors": tensors}
    return Checkpoint(**(values | changes))  # type: ignore[arg-type]


def assert_equal(a: Checkpoint, b: Checkpoint) -> None:
    assert (a.kind, a.config, a.metrics) == (b.kind, b.config, b.metrics)
    assert a.tensors.keys() == b.tensors.keys()
    assert all(torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors)


def test_write_then_read_is_the_identity(tmp_path: Path) -> None:
    """Config, metrics and every tensor come back, dtype included."""
    write(tmp_path / "c", make())
    assert_equal(read(tmp_path / "c", kind="tokenizer"), make())


def test_large_checkpoints_are_sharded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shard exceeds the limit unless a single tensor does, and all come back together."""
    monkeypatch.setattr(worldmodel.checkpoints.checkpoint, "SHARD_BYTES", 1000)
    checkpoint = make(tensors={f"t{i}": torch.full((100,), float(i)) for i in range(9)})
    write(tmp_path, checkpoint)
    shards = list(tmp_path.glob("*.safetensors"))
    assert len(shards) == 5
    assert all(shard.stat().st_size < 1000 + 400 for shard in shards)
    assert_equal(read(tmp_path, kind="tokenizer"), checkpoint)


def test_a_new_save_removes_the_old_shards(tmp_path: Path) -> None:
    """The directory holds the newest checkpoint and nothing else."""
    write(tmp_path, make(0))
    write(tmp_path, make(1))
    assert len(list(tmp_path.iterdir())) == 3  # a shard for module "a", one for buffers, and the index
    assert_equal(read(tmp_path, kind="tokenizer"), make(1))


def no_space(source: str, target: str) -> None:
    raise OSError(28, "No space left on device")


def test_a_save_that_fails_anywhere_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever file cannot be written, the previous checkpoint is read as before and no debris stays."""
    monkeypatch.setattr(worldmodel.checkpoints.checkpoint, "SHARD_BYTES", 100)
    write(tmp_path, make(0))
    real = os.replace
    for fail_at in range(3):  # two shards and the index
        outcomes = iter([real] * fail_at + [no_space])

        def replace(source: str, target: str, outcomes: Iterator[Callable[..., None]] = outcomes) -> None:
            next(outcomes)(source, target)

        monkeypatch.setattr(worldmodel.checkpoints.checkpoint.os, "replace", replace)
        files = sorted(tmp_path.iterdir())
        with pytest.raises(OSError, match="No space"):
            write(tmp_path, make(1))
        monkeypatch.setattr(worldmodel.checkpoints.checkpoint.os, "replace", real)
        assert sorted(tmp_path.iterdir()) == files
        assert_equal(read(tmp_path, kind="tokenizer"), make(0))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_every_flipped_bit_of_a_shard_is_found(tmp_path: Path, place: int, bit: int) -> None:
    """One wrong bit anywhere in the weights' file is refused in one line."""
    write(tmp_path, make())
    shard = next(tmp_path.glob("*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[place % len(data)] ^= 1 << bit
    shard.write_bytes(data)
    with pytest.raises(ValueError, match="damaged") as caught:
        read(tmp_path, kind="tokenizer")
    assert "\n" not in str(caught.value)


def test_a_truncated_or_missing_shard_is_refused(tmp_path: Path) -> None:
    """A shard cut short is damaged, a shard deleted is missing: both are said."""
    write(tmp_path, make())
    shard = next(tmp_path.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ValueError, match="damaged"):
        read(tmp_path, kind="tokenizer")
    shard.unlink()
    with pytest.raises(ValueError, match="missing"):
        read(tmp_path, kind="tokenizer")


def shard_of(path: Path, data: bytes) -> None:
    """Put a shard with these bytes and its right SHA-256 in place of a checkpoint's own."""
    digest = hashlib.sha256(data).hexdigest()
    name = f"model-00001-of-00001-{digest[:12]}.safetensors"
    (path / name).write_bytes(data)
    write_index(path, read_index(path) | {"files": {name: digest}})


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ('{"a":{"dtype":"F32","shape":[' + "1," * 100_000 + '1],"data_offsets":[0,4]}}', "dimensions"),
        (json.dumps({f"t{i}": {} for i in range(60_000)}), "declares 60,000 tensors"),
        ("[" * 100_000, "has no header"),
        ('{"a": [1]}', "has no shape"),
        ('{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4]}}', "damaged"),
        ('{"a":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}', "damaged"),
    ],
)
def test_a_header_is_judged_before_it_is_obeyed(header: str, message: str, tmp_path: Path) -> None:
    """A shard signed by whoever made it, whose header declares what no model has, is refused in one line at once."""
    write(tmp_path, make())
    shard_of(tmp_path, len(header).to_bytes(8, "little") + header.encode() + bytes(4))
    began = time.monotonic()
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, kind="tokenizer")
    assert time.monotonic() - began < 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("header", [b"", b"\xff" * 8, bytes(8), (10**12).to_bytes(8, "little")])
def test_a_shard_without_a_header_is_refused(header: bytes, tmp_path: Path) -> None:
    """Whatever its first bytes say."""
    write(tmp_path, make())
    shard_of(tmp_path, header)
    with pytest.raises(ValueError, match="damaged"):
        read(tmp_path, kind="tokenizer")


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A pipe would be waited for, a device read for ever: both are refused, also behind a link."""
    write(tmp_path, make())
    shard = next(tmp_path.glob("*.safetensors"))
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(ValueError, match="is no regular file"):
        read(tmp_path, kind="tokenizer")
    shard.unlink()
    shard.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="is no regular file"):
        read(tmp_path, kind="tokenizer")


def test_what_a_killed_save_left_is_swept(tmp_path: Path) -> None:
    """Temporary shards and indices of a save that was killed go with the next save."""
    for name in (".model-00001-of-00001-0123456789ab.safetensors.tmp", ".config.json.tmp"):
        (tmp_path / name).write_bytes(b"half")
    write(tmp_path, make())
    assert len(list(tmp_path.iterdir())) == 3  # a shard for module "a", one for buffers, and the index


def test_sizes_are_compared_before_memory_is_taken() -> None:
    """A config that asks for more than the weights that came with it is refused by name, and builds nothing."""
    tokenizer = tiny_tokenizer()
    tensors = dict(tokenizer.state_dict())
    config = dataclasses.replace(tokenizer.config, hidden_dim=8000, num_residual_blocks=200)
    with pytest.raises(ValueError, match=r"do not fit the config: decoder.* is"):
        build(lambda: Tokenizer(config), make(tensors=tensors), "dir")
    built = build(lambda: Tokenizer(tokenizer.config), make(tensors=tensors), "dir")
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in built.state_dict().items())


def test_no_checkpoint_and_a_file_are_told_apart(tmp_path: Path) -> None:
    """A directory without a checkpoint, and a file in its place, are refused in one line each."""
    with pytest.raises(ValueError, match="no tokenizer checkpoint at"):
        read(tmp_path / "nowhere", kind="tokenizer")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        read(tmp_path / "file", kind="tokenizer")


def test_weights_must_fit_and_be_finite() -> None:
    """A missing or NaN weight is refused by name."""
    tokenizer = tiny_tokenizer()
    tensors = {name: tensor.clone() for name, tensor in tokenizer.state_dict().items()}
    tensors["encoder.0.weight"][0] = float("nan")
    with pytest.raises(ValueError, match=r"encoder\.0\.weight are not finite"):
        load_weights(tokenizer, make(tensors=tensors), "dir")
    del tensors["encoder.0.weight"]
    with pytest.raises(ValueError, match=r"do not fit the config.*encoder\.0\.weight"):
        load_weights(tokenizer, make(tensors=tensors), "dir")


def test_a_module_that_did_not_change_keeps_its_file(tmp_path: Path) -> None:
    """There are shards for each module, so a save touches only the files of modules that changed."""
    tensors = {"a.weight": torch.zeros(3), "b.weight": torch.zeros(3)}
    write(tmp_path, make(tensors=tensors))
    before = {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("*.safetensors")}
    write(tmp_path, make(tensors=tensors | {"b.weight": torch.ones(3)}))
    after = {file.name for file in tmp_path.glob("*.safetensors")}
    assert {name.split("-")[0] for name in before.keys() & after} == {"a"}
    assert {name.split("-")[0] for name in before.keys() ^ after} == {"b"}


def test_a_large_module_has_several_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each at most as large as a shard may be, and read as one."""
    monkeypatch.setattr(checkpoint, "SHARD_BYTES", 100)
    tensors = {f"a.{i}": torch.full((20,), float(i)) for i in range(3)}
    write(tmp_path, make(tensors=tensors))
    assert sorted(file.name[:3] for file in tmp_path.glob("*.safetensors")) == ["a-1", "a-2", "a-3"]
    assert_equal(read(tmp_path, kind="tokenizer"), make(tensors=tensors))
