"""Recordings from elsewhere become a data set: frame t, action t -> frame t+1, with the counts checked first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..envs.names import unique
from ..envs.picture import FITS, fit_square
from ..rollouts.config import SPLITS
from ..rollouts.lock import locked
from ..rollouts.manifest import INFO_FILE, DatasetInfo, EpisodeRecord, append_record, write_info
from ..rollouts.storage import EpisodeEncoder
from .steps_file import StepTable

MAX_ACTIONS = 256  # more are no named actions but a measured quantity


class Source(Protocol):
    """An episode to import."""

    @property
    def name(self) -> str: ...
    def read_frames(self) -> Iterator[np.ndarray]: ...
    def read_steps(self) -> StepTable: ...


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """How recordings become frames of a data set.

    Attributes:
        frame_size: side of the frames in pixels.
        fit: "squash", "pad" or "crop" a picture to the square.
        frames_per_second: of the recordings; 0 is what they say themselves.
        env: what the game is called.
        split: "train" or "test".
        actions: comma-separated names of the actions 0, 1, 2, ...; empty is what the recordings say.
    """

    frame_size: int = 128
    fit: str = "squash"
    frames_per_second: float = 0.0
    env: str = "imported"
    split: str = "train"
    actions: str = ""

    def __post_init__(self) -> None:
        if self.frame_size < 1:
            raise ValueError(f"frame_size must be at least 1, got {self.frame_size}")
        if self.fit not in FITS:
            raise ValueError(f"fit is {', '.join(FITS)}, got {self.fit!r}")
        if self.split not in SPLITS:
            raise ValueError(f"no split named {self.split!r} (splits: {', '.join(SPLITS)})")


def import_recordings(
    sources: Sequence[Source],
    path: Path,
    *,
    config: ImportConfig,
    frames_per_second: float,
    action_names: Sequence[str] = (),
    on_episode: Callable[[EpisodeRecord], None] = lambda record: None,
) -> None:
    """Write the episodes of `sources` into a new data set in the directory `path`.

    Args:
        frames_per_second: what the source says; 0 where it says nothing, and the config has to.
        action_names: of the actions 0, 1, 2, ..., where the source knows them.

    Raises:
        ValueError: if counts, actions or sizes do not fit, naming the recording; finished episodes stay.
    """
    if not (config.frames_per_second or frames_per_second):
        raise ValueError("the recordings do not say their frames/s; say how many: --set frames_per_second=10")
    tables = [source.read_steps() for source in sources]
    numbers = _numbering(tables, config.actions.split(",") if config.actions else action_names)
    with locked(path):
        if (path / INFO_FILE).exists():
            raise ValueError(f"{path} holds a data set already; choose another --out")
        info: DatasetInfo | None = None
        for index, (source, table) in enumerate(zip(sources, tables, strict=True)):
            actions = [numbers.keys[value] for value in table.actions]
            first = next(iter(source.read_frames()), None)
            if first is None:
                raise ValueError(f"{source.name} has no frames")
            if info is None:
                info = _describe(config, numbers.names, frames_per_second, first)
                write_info(path, info)
            record = _write(source, table, actions, path=path, index=index, info=info, config=config)
            append_record(path, record)
            on_episode(record)


@dataclass(frozen=True)
class Numbering:
    """The action names, and which of them each value in the files is."""

    names: tuple[str, ...]
    keys: dict[str | int, int]


def _numbering(tables: Sequence[StepTable], given: Sequence[str]) -> Numbering:
    """Number the actions of all files: by the names that are given, the numbers in the files, or in the order of names.

    Raises:
        ValueError: if names and numbers are mixed, there are too many, or one is not among those given.
    """
    values = {value for table in tables for value in table.actions}
    if {type(value) for value in values} == {str, int}:
        raise ValueError("some recordings name their actions, others number them; use one form")
    if all(isinstance(value, int) for value in values):
        highest = max((int(value) for value in values), default=0)
        if min((int(value) for value in values), default=0) < 0 or highest >= MAX_ACTIONS:
            raise ValueError(f"numbered actions are 0 to {MAX_ACTIONS - 1}, got {min(values, key=int)} to {highest}")
        said = list(given) or [f"action_{number}" for number in range(highest + 1)]
        if len(said) <= highest:
            raise ValueError(f"there are {len(said)} action names, but an action {highest} (the first one is 0)")
        return Numbering(unique(said, joined=True), {number: number for number in range(len(said))})
    said = list(given) or sorted((str(value) for value in values), key=lambda name: (name != "noop", name))
    missing = [value for value in values if value not in said]
    if missing or len(said) > MAX_ACTIONS:
        raise ValueError(
            f"no action named {missing[0]!r} among {', '.join(said)}" if missing else f"{len(said)} actions"
        )
    return Numbering(unique(said, joined=True), {name: number for number, name in enumerate(said)})


def _describe(
    config: ImportConfig, action_names: Sequence[str], frames_per_second: float, first: np.ndarray
) -> DatasetInfo:
    return DatasetInfo(
        settings={
            "env": config.env,
            "engine": "import 1",
            "frame_size": config.frame_size,
            "frame_skip": 1,
            "action_names": list(action_names),
            "fit": config.fit,
            "screen_size": list(first.shape[:2]),
        },
        frames_per_second=config.frames_per_second or frames_per_second,
        variables=(),
        policy="imported",
        split=config.split,
        seed=0,
    )


def _write(
    source: Source,
    table: StepTable,
    actions: Sequence[int],
    *,
    path: Path,
    index: int,
    info: DatasetInfo,
    config: ImportConfig,
) -> EpisodeRecord:
    encoder = EpisodeEncoder(index, SPLITS[config.split] + index, info=info)
    count = 0
    for frame in source.read_frames():
        if count > len(actions):
            count += sum(1 for _ in source.read_frames()) - count  # for the message
            break
        if list(frame.shape[:2]) != info.settings["screen_size"]:
            raise ValueError(
                f"{source.name} has frames of {frame.shape[:2]} pixels, not {info.settings['screen_size']}"
            )
        square = fit_square(frame, config.frame_size, fit=config.fit)
        done = {"action": actions[count - 1], "reward": table.rewards[count - 1]} if count else {}
        encoder.add(square, {}, **done)  # type: ignore[arg-type]
        count += 1
    if count not in (len(actions), len(actions) + 1):
        raise ValueError(
            f"{source.name} has {count} frames and {len(actions)} actions; action t leads from frame t to frame t+1, "
            f"so {count} frames have {count - 1} actions, or {count} where the last one ended the game unseen"
        )
    if count == len(actions):
        encoder.end(actions[-1], table.rewards[-1])
    return encoder.write(path, terminated=table.terminated, truncated=table.truncated or not table.terminated)
