"""What a data set says about itself."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from worldmodel.rollouts import DatasetInfo, EpisodeDataset, EpisodeRecord
from worldmodel.rollouts.manifest import (
    EPISODES_FILE,
    INFO_FILE,
    append_record,
    drop_cut_off_line,
    fingerprint,
    read_info,
    read_records,
    write_info,
)

INFO = DatasetInfo(
    settings={"env": "toy", "frame_size": 16, "frame_skip": 1, "action_names": ["noop", "left"]},
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
