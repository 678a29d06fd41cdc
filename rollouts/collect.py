"""Records a data set with several games at once: same settings, same data, whatever is interrupted or killed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .config import CollectConfig
from .crew import Crew, start_recorder
from .lock import locked
from .manifest import (
    INFO_FILE,
    DatasetInfo,
    EpisodeRecord,
    append_record,
    differences,
    drop_cut_off_line,
    read_info,
    read_records,
    seal,
    sweep,
    write_atomically,
    write_info,
)
from .recording import Machines, ThisMachine
from .shard import SHARD_FILE, Shard, encode_shard, read_shard


@dataclass(frozen=True, kw_only=True)
class Goal:
    """When a data set is complete: at this many episodes, or with the episode that reaches this many frames."""

    frames: int | None = None
    episodes: int | None = None

    def __post_init__(self) -> None:
        chosen = [number for number in (self.frames, self.episodes) if number is not None]
        if len(chosen) != 1 or chosen[0] < 1:
            raise ValueError(f"ask for at least 1 frame or 1 episode, got {self.frames} and {self.episodes}")

    def is_reached(self, records: list[EpisodeRecord]) -> bool:
        """Whether `records` are enough."""
        if self.episodes is not None:
            return len(records) >= self.episodes
        return sum(record.frames for record in records) >= (self.frames or 0)


def collect(
    config: CollectConfig,
    path: Path,
    *,
    goal: Goal,
    workers: int = 1,
    machines: Machines | None = None,
    on_episode: Callable[[EpisodeRecord], None] = lambda record: None,
    on_start: Callable[[list[EpisodeRecord]], None] = lambda records: None,
) -> None:
    """Record episodes into the directory `path` until `goal` is reached; go on where an earlier call ended.

    Episodes are numbered, each with its own seed, and enter the manifest in this order: the data set does not depend
    on the number of workers. A worker is a thread with a game of its own, in a process of its own.
    Of a shard only the episodes that are its own are recorded; the goal is the whole data set's.

    Args:
        machines: where the games are played; on this one if nobody says.
        on_start: is called once with the episodes that are already there.
        on_episode: is called after each episode that is safe on the disk and in the manifest.

    Raises:
        ValueError: if `path` holds a data set with other settings, or the settings cannot be.
        OSError: if `path` cannot be written; finished episodes are safe.
        GameDiedError: if a game died again and again on the same episode.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    shard = _shard(config, goal)
    goal = Goal(episodes=len(shard)) if shard else goal
    machines = machines or ThisMachine()
    machines.check(workers)
    recorder = start_recorder(config, machines)
    with closing(recorder), locked(path):
        info = recorder.info
        sweep(path, ".*.tmp")
        records = _open(path, info, shard)
        on_start(records)
        if not goal.is_reached(records):
            first, step = config.shard_index + len(records) * config.num_shards, config.num_shards
            with Crew(
                config, path, info=info, first=first, step=step, recorder=recorder, machines=machines, workers=workers
            ) as crew:
                for record in crew.records():
                    append_record(path, record)
                    records.append(record)
                    on_episode(record)
                    if goal.is_reached(records):
                        break
        # Also where nothing is left to record: whoever recorded the last one may have been killed before this.
        seal(path, records)
        _remove_unlisted(path, records)


def _shard(config: CollectConfig, goal: Goal) -> Shard | None:
    """Return which part of a data set is to be recorded, None if it is the whole."""
    if config.num_shards == 1:
        return None
    if goal.episodes is None:
        raise ValueError(
            "a shard needs the whole data set's number of episodes, not of frames: the others' are unknown"
        )
    return Shard(index=config.shard_index, num_shards=config.num_shards, episodes=goal.episodes)


def _open(path: Path, info: DatasetInfo, shard: Shard | None) -> list[EpisodeRecord]:
    """Start a data set in `path`, or return the episodes of the one that is there.

    Raises:
        ValueError: if it was recorded with other settings.
    """
    if not (path / INFO_FILE).exists():
        (path / SHARD_FILE).unlink(missing_ok=True)  # of a recorder that was killed here
        if shard is not None:
            write_atomically(path / SHARD_FILE, encode_shard(shard))
        write_info(path, info)
    present = read_info(path)
    for name, ours, theirs in differences(info, present):
        raise ValueError(f"{path} holds a data set with {name} {theirs}, not {ours}; choose another --out")
    drop_cut_off_line(path)
    there = read_shard(path)
    if (there and (there.index, there.num_shards)) != (shard and (shard.index, shard.num_shards)):
        wanted = shard or "a whole data set"
        raise ValueError(f"{path} holds {there or 'a whole data set'}, not {wanted}; choose another --out")
    records = read_records(path)
    if shard is not None and shard != there and len(records) <= len(shard):
        write_atomically(path / SHARD_FILE, encode_shard(shard))
    return records


def _remove_unlisted(path: Path, records: list[EpisodeRecord]) -> None:
    """Remove the episodes that workers finished beyond the goal."""
    listed = {record.file for record in records}
    for file in path.glob("episode-*.parquet"):
        if file.name not in listed:
            file.unlink()
