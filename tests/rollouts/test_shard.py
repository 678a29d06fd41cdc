"""Shards of a data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from worldmodel.rollouts import CollectConfig, EpisodeDataset, Goal, collect
from worldmodel.rollouts.shard import SHARD_FILE, Shard, read_shard


def config(index: int, num_shards: int) -> CollectConfig:
    return CollectConfig(env="toy", frame_size=16, frame_skip=1, shard_index=index, num_shards=num_shards)


def record(path: Path, index: int, num_shards: int, *, episodes: int, workers: int = 1) -> Path:
    collect(config(index, num_shards), path, goal=Goal(episodes=episodes), workers=workers)
    return path


def test_shard_holds_its_episodes_of_the_whole(tmp_path: Path) -> None:
    """Shard 1 of 3 holds episodes 1, 4, 7 as the whole data set does, byte for byte, for any number of workers."""
    whole = EpisodeDataset(record(tmp_path / "whole", 0, 1, episodes=8))
    for workers in (1, 3):
        shard = EpisodeDataset(record(tmp_path / str(workers), 1, 3, episodes=8, workers=workers))
        assert shard.records == whole.records[1::3]
        assert shard.info == whole.info
        assert shard.shard == Shard(index=1, num_shards=3, episodes=8)
        assert not any(shard.verify(place) for place in range(len(shard)))
        assert (shard.episode(1).frames == whole.episode(4).frames).all()
        for line in shard.records:
            assert (shard.path / line.file).read_bytes() == (whole.path / line.file).read_bytes()


def test_shard_goes_on(tmp_path: Path) -> None:
    """Recorded in parts it is what it is at once; a smaller goal than what is there changes nothing."""
    for episodes in (4, 9, 5):
        record(tmp_path / "in parts", 0, 2, episodes=episodes)
    record(tmp_path / "at once", 0, 2, episodes=9)
    first, second = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("in parts", "at once")
    )
    assert first == second


@pytest.mark.parametrize(
    ("index", "num_shards", "message"),
    [(1, 2, "holds shard 0 of 2, not shard 1 of 2"), (0, 3, "not shard 0 of 3"), (0, 1, "not a whole data set")],
)
def test_other_shard_is_refused(tmp_path: Path, index: int, num_shards: int, message: str) -> None:
    """A directory holds one shard: another one, or the whole data set, is refused, and nothing changes."""
    record(tmp_path / "d", 0, 2, episodes=4)
    with pytest.raises(ValueError, match=message):
        record(tmp_path / "d", index, num_shards, episodes=9)
    assert len(EpisodeDataset(tmp_path / "d")) == 2
    record(tmp_path / "whole", 0, 1, episodes=2)
    with pytest.raises(ValueError, match="holds a whole data set, not shard 0 of 2"):
        record(tmp_path / "whole", 0, 2, episodes=9)


def test_impossible_shards_are_refused(tmp_path: Path) -> None:
    """Numbers that cannot be, more shards than episodes, and a goal in frames are one line each."""
    for index, num_shards in ((-1, 2), (2, 2), (0, 0)):
        with pytest.raises(ValueError, match="shard_index 0 to num_shards - 1, got"):
            config(index, num_shards)
    with pytest.raises(ValueError, match="3 episodes cannot be shared by 4 shards"):
        record(tmp_path / "d", 0, 4, episodes=3)
    with pytest.raises(ValueError, match="a shard needs the whole data set's number of episodes"):
        collect(config(0, 2), tmp_path / "d", goal=Goal(frames=100))
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"index": true, "num_shards": 2, "episodes": 4}', b"\xff"])
def test_damaged_description_is_refused(tmp_path: Path, content: bytes) -> None:
    """A shard.json that says nothing that can be is a ValueError, and one of another shard contradicts the lines."""
    record(tmp_path, 0, 2, episodes=4)
    (tmp_path / SHARD_FILE).write_bytes(content)
    with pytest.raises(ValueError, match=r"shard\.json is damaged"):
        read_shard(tmp_path)
    (tmp_path / SHARD_FILE).write_bytes(b'{"index": 1, "num_shards": 2, "episodes": 4}')
    with pytest.raises(ValueError, match="damaged in line 1"):
        EpisodeDataset(tmp_path)
    (tmp_path / SHARD_FILE).unlink()
    with pytest.raises(ValueError, match="damaged in line 2"):
        EpisodeDataset(tmp_path)
