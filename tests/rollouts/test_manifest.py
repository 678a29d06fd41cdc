"""What a data set says about itself."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worldmodel.rollouts import DatasetInfo, EpisodeDataset, EpisodeRecord
from worldmodel.rollouts.manifest import (
    EPISODES_FILE,
    INFO_FILE,
    append_record,
    drop_cut_off_line,
    fingerprint,
    has_checks,
    line_of,
    read_info,
    read_records,
    seal,
    write_info,
)

INFO = DatasetInfo(
    settings={"env": "toy", "engine": "toy 1", "frame_size": 16, "frame_skip": 1, "action_names": ["noop", "left"]},
    frames_per_second=8.0,
    variables=("angle",),
    policy="random",
    split="test",
    seed=7,
)


def make_record(index: int) -> EpisodeRecord:
    return EpisodeRecord(
        index=index,
        file=f"episode-{index:06d}.parquet",
        frames=10 + index,
        seed=index,
        terminated=False,
        truncated=True,
        sha256=f"{index:064x}",
    )


def test_info_survives_the_disk(tmp_path: Path) -> None:
    """What is read is what was written, and the derived facts are those of the settings."""
    write_info(tmp_path, INFO)
    info = read_info(tmp_path)
    assert info == INFO
    assert (info.env, info.frame_size, info.frame_skip, info.action_names) == ("toy", 16, 1, ("noop", "left"))


def test_any_change_of_the_info_is_found(tmp_path: Path) -> None:
    """No changed byte of `dataset.json` changes silently what the data set says."""
    write_info(tmp_path, INFO)
    file = tmp_path / INFO_FILE
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(content)
        broken[int(rng.integers(len(broken)))] ^= 1 << int(rng.integers(7))
        file.write_bytes(broken)
        try:
            assert read_info(tmp_path) == INFO  # white space, say
        except ValueError as error:
            assert "\n" not in str(error)  # noqa: PT017  both outcomes are right


def test_missing_or_newer_data_sets_are_refused(tmp_path: Path) -> None:
    """No data set: say how to make one. Another schema: say which one this version reads."""
    with pytest.raises(FileNotFoundError, match=r"no data set in .*collect-rollouts"):
        EpisodeDataset(tmp_path)
    write_info(tmp_path, replace(INFO, schema=99))
    with pytest.raises(ValueError, match="schema 99; this version reads 1"):
        EpisodeDataset(tmp_path)


def test_line_cut_off_by_a_kill_does_not_count(tmp_path: Path) -> None:
    """At whatever byte the last line ends, the lines before it stand, and the next one does not stick to its rest."""
    for index in range(3):
        append_record(tmp_path, make_record(index))
    file = tmp_path / EPISODES_FILE
    content = file.read_bytes()
    second_end = content.find(b"\n", content.find(b"\n") + 1) + 1
    for size in range(second_end, len(content)):
        file.write_bytes(content[:size])
        assert read_records(tmp_path) == [make_record(0), make_record(1)]
        drop_cut_off_line(tmp_path)
        append_record(tmp_path, make_record(2))
        assert file.read_bytes() == content


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[]",
        b"{}",
        json.dumps({**asdict(make_record(1)), "index": 5}).encode(),
        json.dumps({**asdict(make_record(1)), "file": "../outside.parquet"}).encode(),
    ],
)
def test_damaged_line_is_a_clear_error(tmp_path: Path, line: bytes) -> None:
    """A line that is no episode, out of order or outside the directory is refused, with its number."""
    append_record(tmp_path, make_record(0))
    with open(tmp_path / EPISODES_FILE, "ab") as file:
        file.write(line + b"\n")
    with pytest.raises(ValueError, match="damaged in line 2"):
        read_records(tmp_path)


def test_fingerprint_covers_settings_and_episodes() -> None:
    """Another setting, episode, order or number of episodes gives another fingerprint; the same gives the same."""
    records = [make_record(0), make_record(1)]
    same = fingerprint(INFO, records)
    assert fingerprint(replace(INFO), list(records)) == same
    others = [
        fingerprint(replace(INFO, policy="explore"), records),
        fingerprint(INFO, records[:1]),
        fingerprint(INFO, records[::-1]),
        fingerprint(INFO, [records[0], replace(records[1], sha256="0" * 64)]),
    ]
    assert len({same, *others}) == 5


def written(path: Path, count: int = 3) -> list[EpisodeRecord]:
    records = [make_record(index) for index in range(count)]
    for record in records:
        append_record(path, record)
    return records


def test_any_change_of_a_line_is_found(tmp_path: Path) -> None:
    """No flipped bit of `episodes.jsonl` changes silently what the data set says, also in the SHA-256 of a file."""
    records = written(tmp_path)
    seal(tmp_path, records)
    file = tmp_path / EPISODES_FILE
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(400):
        broken = bytearray(content)
        broken[int(rng.integers(len(broken)))] ^= 1 << int(rng.integers(8))
        file.write_bytes(broken)
        try:
            found = read_records(tmp_path)
        except ValueError as error:
            assert "\n" not in str(error)  # noqa: PT017  both outcomes are right
            continue
        assert found == records


def test_a_manifest_that_is_cut_short_is_found(tmp_path: Path) -> None:
    """Wherever it ends, also between two lines: once a recorder has ended, no fewer episodes are read."""
    records = written(tmp_path)
    seal(tmp_path, records)
    file = tmp_path / EPISODES_FILE
    content = file.read_bytes()
    for length in range(0, len(content), 17):
        file.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"it has . of at least 3 episodes"):
            read_records(tmp_path)
    file.unlink()
    with pytest.raises(ValueError, match=r"it has . of at least 3 episodes"):
        read_records(tmp_path)
    file.write_bytes(content)
    append_record(tmp_path, make_record(3))
    assert len(read_records(tmp_path)) == 4


def test_lines_of_older_versions_are_read(tmp_path: Path) -> None:
    """They have no checksum, and can be told from those that have one."""
    records = written(tmp_path)
    assert has_checks(tmp_path)
    (tmp_path / EPISODES_FILE).write_text("".join(json.dumps(asdict(record)) + "\n" for record in records))
    assert read_records(tmp_path) == records
    assert not has_checks(tmp_path)


def test_a_file_replaced_with_its_sha256_is_read(tmp_path: Path) -> None:
    """Where the SHA-256 of a line is not the one that was written, the file decides."""
    written(tmp_path, 1)
    (tmp_path / "episode-000000.parquet").write_bytes(b"new")
    digest = hashlib.sha256(b"new").hexdigest()
    file = tmp_path / EPISODES_FILE
    file.write_text(file.read_text().replace(f"{0:064x}", digest))
    assert read_records(tmp_path)[0].sha256 == digest
    (tmp_path / "episode-000000.parquet").write_bytes(b"other")
    with pytest.raises(ValueError, match="nor does the file have its SHA-256"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frames", 10**30),
        ("frames", None),
        ("frames", 0),
        ("frames", True),
        ("seed", "1"),
        ("terminated", 1),
        ("file", "../episode-000000.parquet"),
        ("file", "/dev/zero"),
        ("file", ["x"]),
        ("sha256", "x"),
        ("sha256", None),
        ("index", 0.0),
    ],
)
def test_wrong_types_in_a_line_are_a_clear_error(name: str, value: Any, tmp_path: Path) -> None:
    """Whoever wrote the line: each fact has its type and its bounds, and no file lies elsewhere."""
    line = asdict(make_record(0)) | {name: value}
    (tmp_path / EPISODES_FILE).write_text(json.dumps(line) + "\n")
    with pytest.raises(ValueError, match="is damaged in line 1"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"frames_per_second": 0}, {}, "frames_per_second is not above 0"),
        ({"frames_per_second": float("nan")}, {}, "frames_per_second is not above 0"),
        ({"frames_per_second": "8"}, {}, "frames_per_second is not above 0"),
        ({"policy": "\x1b[2J"}, {}, "policy is no short printable text"),
        ({"variables": ("a", 3)}, {}, "variables is no list"),
        ({"seed": None}, {}, "seed is no whole number"),
        ({}, {"frame_size": None}, "frame_size is no whole number"),
        ({}, {"frame_size": 10**9}, "frame_size is no whole number of 1 to 4096"),
        ({}, {"frame_skip": 10**12}, "frame_skip is no whole number"),
        ({}, {"engine": None}, "engine is no short printable text"),
        ({}, {"action_names": 5}, "action_names is no list"),
        ({}, {"action_names": []}, "action_names is empty"),
        ({}, {"action_names": ["\x07"]}, "action_names is no list"),
    ],
)
def test_a_signed_description_is_judged(
    changes: dict[str, Any], settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Types, bounds and control characters in `dataset.json`, also where its SHA-256 is right."""
    write_info(tmp_path, replace(INFO, **changes, settings={**INFO.settings, **settings}))
    with pytest.raises(ValueError, match=message):
        read_info(tmp_path)


def test_a_large_manifest_is_read_quickly(tmp_path: Path) -> None:
    """10,000 episodes are there in less than two seconds, their fingerprint included."""
    write_info(tmp_path, INFO)
    with open(tmp_path / EPISODES_FILE, "wb") as file:
        for index in range(10_000):
            file.write(line_of(make_record(index)))
    began = time.process_time()
    assert len(EpisodeDataset(tmp_path)) == 10_000
    assert time.process_time() - began < 2
