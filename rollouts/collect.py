"""Records a data set with several games at once: same settings, same data, whatever is interrupted or killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from ..envs import GameDiedError
from .config import CollectConfig
from .crew import ATTEMPTS, Crew
from .lock import locked
from .manifest import (
    INFO_FILE,
    DatasetInfo,
    EpisodeRecord,
    append_record,
    drop_cut_off_line,
    read_info,
    read_records,
    seal,
    sweep,
    write_info,
)
from .memory import check_workers
from .recording import Recorder, make_recorder

STATEMENTS = {"world"}  # settings that say something of a game and change no frame; older data sets lack them


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
    on_episode: Callable[[EpisodeRecord], None] = lambda record: None,
    on_start: Callable[[list[EpisodeRecord]], None] = lambda records: None,
) -> None:
    """Record episodes into the directory `path` until `goal` is reached; go on where an earlier call ended.

    Episodes are numbered, each with its own seed, and enter the manifest in this order: the data set does not depend
    on the number of workers. A worker is a thread with a game of its own, in a process of its own.

    Args:
        on_start: is called once with the episodes that are already there.
        on_episode: is called after each episode that is safe on the disk and in the manifest.

    Raises:
        ValueError: if `path` holds a data set with other settings, or the settings cannot be.
        OSError: if `path` cannot be written; finished episodes are safe.
        GameDiedError: if a game died again and again on the same episode.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    check_workers(workers)
    recorder = _start(config)
    with closing(recorder), locked(path):
        info = recorder.info
        sweep(path, ".*.tmp")
        records = _open(path, info)
        on_start(records)
        if goal.is_reached(records):
            return
        with Crew(config, path, info=info, first=len(records), recorder=recorder, workers=workers) as crew:
            for record in crew.records():
                append_record(path, record)
                records.append(record)
                on_episode(record)
                if goal.is_reached(records):
                    break
        seal(path, records)
        _remove_unlisted(path, records)


def _start(config: CollectConfig) -> Recorder:
    """Return the first recorder, started anew if its game dies."""
    for attempt in range(ATTEMPTS):
        try:
            return make_recorder(config, patience=2.0**attempt)
        except GameDiedError as error:
            died = error
    raise GameDiedError(f"the game died {ATTEMPTS} times at its start: {died}")


def _open(path: Path, info: DatasetInfo) -> list[EpisodeRecord]:
    """Start a data set in `path`, or return the episodes of the one that is there.

    Raises:
        ValueError: if it was recorded with other settings.
    """
    if not (path / INFO_FILE).exists():
        write_info(path, info)
    present = read_info(path)
    for name, ours, theirs in _differences(info, present):
        raise ValueError(f"{path} holds a data set with {name} {theirs}, not {ours}; choose another --out")
    drop_cut_off_line(path)
    return read_records(path)


def _differences(info: DatasetInfo, present: DatasetInfo) -> Iterator[tuple[str, object, object]]:
    ours, theirs = asdict(info), asdict(present)
    ours |= ours.pop("settings")
    theirs |= theirs.pop("settings")
    names = (ours.keys() | theirs.keys()) - STATEMENTS
    for name in sorted(names, key=lambda name: (name != "env", name)):
        if ours.get(name) != theirs.get(name):
            yield name, ours.get(name), theirs.get(name)


def _remove_unlisted(path: Path, records: list[EpisodeRecord]) -> None:
    """Remove the episodes that workers finished beyond the goal."""
    listed = {record.file for record in records}
    for file in path.glob("episode-*.parquet"):
        if file.name not in listed:
            file.unlink()
