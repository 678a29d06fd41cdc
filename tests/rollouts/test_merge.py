"""Joining shards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worldmodel.rollouts import CollectConfig, EpisodeDataset, Goal, collect
from worldmodel.rollouts import merge as module
from worldmodel.rollouts.merge import merge


def record(path: Path, index: int = 0, num_shards: int = 1, *, episodes: int = 7, policy: str = "explore") -> Path:
    config = CollectConfig(
        env="toy", frame_size=16, frame_skip=1, policy=policy, shard_index=index, num_shards=num_shards
    )
    collect(config, path, goal=Goal(episodes=episodes))
    return path


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Three shards of a data set of seven episodes."""
    return [record(tmp_path / f"shard-{index}", index, 3) for index in range(3)]


def snapshot(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_merged_is_what_one_machine_records(tmp_path: Path, shards: list[Path]) -> None:
    """In any order of the shards the directory is one machine's, byte for byte, its files are links, and it goes on."""
    whole = record(tmp_path / "whole")
    merge(shards[::-1], tmp_path / "merged")
    assert snapshot(tmp_path / "merged") == snapshot(whole)
    assert EpisodeDataset(tmp_path / "merged").fingerprint == EpisodeDataset(whole).fingerprint
    name = "episode-000001.parquet"
    assert (tmp_path / "merged" / name).samefile(shards[1] / name)
    record(tmp_path / "merged", episodes=9)
    assert snapshot(tmp_path / "merged") == snapshot(record(whole, episodes=9))


def test_merging_again_changes_nothing_and_goes_on(tmp_path: Path, shards: list[Path]) -> None:
    """The same call again is the same data set; with longer shards it becomes longer."""
    for _ in range(2):
        merge(shards, tmp_path / "merged")
    for index, shard in enumerate(shards):
        record(shard, index, 3, episodes=11)
    merge(shards, tmp_path / "merged")
    assert snapshot(tmp_path / "merged") == snapshot(record(tmp_path / "whole", episodes=11))


def test_without_links_files_are_copied(tmp_path: Path, shards: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """On another file system the data set is the same, of copies."""

    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    merge(shards, tmp_path / "merged")
    assert snapshot(tmp_path / "merged") == snapshot(record(tmp_path / "whole"))
    assert not (tmp_path / "merged" / "episode-000000.parquet").samefile(shards[0] / "episode-000000.parquet")


@pytest.mark.parametrize("writes", range(10))
def test_stopped_merge_is_no_data_set_and_goes_on(
    tmp_path: Path, shards: list[Path], monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """Stopped after any file there is no data set yet, or a whole one; the same call makes it whole."""
    real, calls = os.replace, iter(range(99))

    def stop(source: str, target: str) -> None:
        if next(calls) == writes:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        merge(shards, tmp_path / "merged")
    monkeypatch.setattr(os, "replace", real)
    with pytest.raises(FileNotFoundError):
        EpisodeDataset(tmp_path / "merged")
    merge(shards, tmp_path / "merged")
    assert snapshot(tmp_path / "merged") == snapshot(record(tmp_path / "whole"))


def test_shards_that_do_not_fit_are_refused(tmp_path: Path, shards: list[Path]) -> None:
    """One missing, one twice, one too short, other settings, another division: one line each, and no data set."""
    first, second, third = shards
    other = record(tmp_path / "other", 2, 3, policy="random")
    wider = record(tmp_path / "wider", 2, 4)
    longer = record(tmp_path / "longer", 2, 3, episodes=12)
    refused = {
        r"shard 1 of 3 is missing: episode 1": [first, third],
        r"are both shard 1 of 3: episode 1 would be there twice": [*shards, second],
        r"other was recorded with policy random, .*shard-0 with explore": [first, second, other],
        r"wider is shard 2 of 4, 7 episodes in all, but .*shard-0 is shard 0 of 3": [first, second, wider],
        r"longer is shard 2 of 3, 12 episodes in all, but": [first, second, longer],
        r"no data set in": [*shards, tmp_path],
    }
    for message, paths in refused.items():
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            merge(paths, tmp_path / "merged")
        assert not (tmp_path / "merged").exists()


def test_unfinished_shard_is_refused(tmp_path: Path, shards: list[Path]) -> None:
    """A recorder that was stopped leaves a shard that is not taken for a finished one, also if it is the last."""
    lines = (shards[0] / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (shards[0] / "sealed.json").unlink()
    (shards[0] / "episodes.jsonl").write_bytes(b"".join(lines[:-1]))
    with pytest.raises(ValueError, match="shard-0 has 2 of 3 episodes; repeat the command"):
        merge(shards, tmp_path / "merged")


def test_damaged_file_is_refused(tmp_path: Path, shards: list[Path]) -> None:
    """A file that is not as it was written does not get in, nor does a pipe or a missing one."""
    file = shards[1] / "episode-000004.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:-9] + b"X" + content[-8:])
    with pytest.raises(ValueError, match=r"episode-000004\.parquet is damaged"):
        merge(shards, tmp_path / "merged")
    assert not list((tmp_path / "merged").glob("*000004*"))
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ValueError, match="no regular file"):
        merge(shards, tmp_path / "merged")
    file.unlink()
    with pytest.raises(FileNotFoundError):
        merge(shards, tmp_path / "merged")


def test_other_data_in_out_is_refused(tmp_path: Path, shards: list[Path]) -> None:
    """A shard, other settings, or more episodes than the shards have are left as they are."""
    longer, other = record(tmp_path / "longer", episodes=9), record(tmp_path / "random", policy="random")
    for out, message in ((shards[0], "is a shard itself"), (longer, "other episodes"), (other, "other settings")):
        before = snapshot(out)
        with pytest.raises(ValueError, match=message):
            module.merge(shards, out)
        assert snapshot(out) == before
