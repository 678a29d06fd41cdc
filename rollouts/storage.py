"""Episodes on disk: one Parquet file each, raw RGB under zstd with page checksums, readable from any frame on."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from . import columns
from .columns import METADATA_KEY, STEP_COLUMNS
from .episode import Episode, Steps, check_pose
from .files import read_regular
from .manifest import DatasetInfo, EpisodeRecord, fingerprint, read_info, read_records, write_atomically
from .shard import read_shard

ROW_GROUP = 16  # frames: what a random access has to decompress
COMPRESSION_LEVEL = 3  # zstd: 7 kB a maze frame at 5,200 frames/s; level 1 takes 8% more space for 36% more speed
MAX_EPISODE_BYTES = 8 * 2**30
FINAL_STEP = {"final_step": True}  # in the metadata of files that hold the last step of an end without a frame, too
OPEN_EPISODES = 4096  # how many footers and action columns are kept in memory


def episode_file(index: int) -> str:
    """Return the file name of episode `index`."""
    return f"episode-{index:06d}.parquet"


def write_episode(path: Path, index: int, episode: Episode, *, info: DatasetInfo) -> EpisodeRecord:
    """Write an episode into the data set directory `path`, all or nothing, and return its manifest line."""
    encoder = EpisodeEncoder(index, episode.seed, info=info)
    for row, frame in enumerate(episode.frames):
        variables = {name: float(values[row]) for name, values in episode.variables.items()}
        if row:
            encoder.add(frame, variables, action=int(episode.actions[row - 1]), reward=float(episode.rewards[row - 1]))
        else:
            encoder.add(frame, variables)
    if episode.final_action is not None:
        encoder.end(episode.final_action, episode.final_reward)
    return encoder.write(path, terminated=episode.terminated, truncated=episode.truncated)


class EpisodeEncoder:
    """Turns frames into the bytes of an episode file while they are being recorded, a row group at a time.

    Only one row group of frames is held, so that they are compressed while they are in the processor's cache.
    """

    def __init__(self, index: int, seed: int, *, info: DatasetInfo) -> None:
        self._index = index
        self._seed = seed
        self._info = info
        self._rows = 0
        self._stream = pa.BufferOutputStream()
        self._writer: pq.ParquetWriter | None = None
        self._variables: list[Mapping[str, float]] = []
        self._actions: list[int] = []
        self._rewards: list[float] = []

    def add(
        self, frame: np.ndarray, variables: Mapping[str, float], *, action: int | None = None, reward: float = 0.0
    ) -> None:
        """Append a frame, and the action and reward that led to it from the one before (the first has none).

        Raises:
            ValueError: if a pose among the frames so far is not finite.
        """
        if self._writer is None:
            self._open(frame)
        if action is not None:
            self._actions.append(action)
            self._rewards.append(reward)
        if len(self._variables) == ROW_GROUP:  # the last row's action is known only now
            self._flush()
        self._frames[len(self._variables)] = frame
        self._variables.append(variables)
        self._rows += 1

    def end(self, action: int, reward: float) -> None:
        """Append the action that ended the game without showing a frame, and its reward."""
        self._actions.append(action)
        self._rewards.append(reward)

    def write(self, path: Path, *, terminated: bool, truncated: bool) -> EpisodeRecord:
        """Write the file into the data set directory `path`, all or nothing, and return its manifest line.

        Raises:
            OSError: if it cannot be written; nothing is left of it.
        """
        record, content = self.encode(terminated=terminated, truncated=truncated)
        write_atomically(path / record.file, content)
        return record

    def encode(self, *, terminated: bool, truncated: bool) -> tuple[EpisodeRecord, memoryview]:
        """Return the manifest line of the episode, and the content of its file."""
        self._flush(terminated=terminated, truncated=truncated)
        assert self._writer is not None
        self._writer.close()
        content = memoryview(self._stream.getvalue())
        record = EpisodeRecord(
            index=self._index,
            file=episode_file(self._index),
            frames=self._rows,
            seed=self._seed,
            terminated=terminated,
            truncated=truncated,
            sha256=hashlib.sha256(content).hexdigest(),
        )
        return record, content

    def _open(self, first: np.ndarray) -> None:
        height, width, _ = first.shape
        described = {"index": self._index, "seed": self._seed, "dataset": self._info.sha256}
        described |= {"height": height, "width": width, **FINAL_STEP}
        self._schema = pa.schema(
            [
                ("frame", pa.binary(first.size)),
                ("action", pa.int32()),
                ("reward", pa.float32()),
                ("terminated", pa.bool_()),
                ("truncated", pa.bool_()),
                *((name, pa.float64()) for name in self._info.variables),
            ],
            metadata={METADATA_KEY: json.dumps(described, sort_keys=True).encode()},
        )
        self._writer = pq.ParquetWriter(
            self._stream,
            self._schema,
            compression="zstd",
            compression_level=COMPRESSION_LEVEL,
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )
        self._frames = np.empty((ROW_GROUP, *first.shape), np.uint8)

    def _flush(self, *, terminated: bool = False, truncated: bool = False) -> None:
        """Write the rows that are held as a row group; the last row of all has the final action, if any."""
        count, given = len(self._variables), len(self._actions)
        variables = {name: np.array([row[name] for row in self._variables], float) for name in self._info.variables}
        try:
            check_pose(variables, first=self._rows - count)
        except ValueError as error:
            raise ValueError(f"{self._info.env}, episode {self._index}: {error}; a pose has to be a number") from error
        frames = pa.py_buffer(self._frames[:count])
        last = np.arange(count) == count - 1
        arrays = [
            pa.FixedSizeBinaryArray.from_buffers(self._schema.field("frame").type, count, [None, frames]),
            pa.array([*self._actions, None][:count], type=pa.int32()),
            pa.array([*self._rewards, None][:count], type=pa.float32()),
            pa.array(last & terminated),
            pa.array(last & truncated),
            *(pa.array(values) for values in variables.values()),
        ]
        assert self._writer is not None
        assert given in (count - 1, count)
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema), row_group_size=ROW_GROUP)
        self._variables, self._actions, self._rewards = [], [], []


def adopt_episode(path: Path, index: int, *, info: DatasetInfo) -> EpisodeRecord | None:
    """Return the manifest line of an episode file that a killed recorder left complete, None if there is none."""
    file = path / episode_file(index)
    try:
        content = file.read_bytes()
        reader = _open(pa.BufferReader(content))
        metadata = json.loads(reader.schema_arrow.metadata[METADATA_KEY])
        if metadata["dataset"] != info.sha256 or metadata["index"] != index:
            return None
        episode = columns.decode(reader.read(), reader.schema_arrow, seed=metadata["seed"], env=info.env)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None
    return EpisodeRecord(
        index=index,
        file=file.name,
        frames=len(episode.frames),
        seed=episode.seed,
        terminated=episode.terminated,
        truncated=episode.truncated,
        sha256=hashlib.sha256(content).hexdigest(),
    )


class EpisodeDataset:
    """A recorded data set, read only. Episodes that are being added meanwhile are seen when it is opened again.

    Attributes:
        path: its directory.
        info: how it was recorded.
        records: its manifest, one line an episode.
        shard: which part of a larger data set it is, None if it is whole.
        fingerprint: SHA-256 over settings and episodes, independent of the worker count and the time of recording.
        lengths: int64, frames (T+1) of each episode.

    Raises:
        FileNotFoundError: if there is no data set at `path`.
        ValueError: if its manifest is damaged or of another schema.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.info = read_info(self.path)
        self.records = read_records(self.path)
        self.shard = read_shard(self.path)
        self.fingerprint = fingerprint(self.info, self.records)
        self.lengths = np.array([record.frames for record in self.records], dtype=np.int64)
        self._footers: OrderedDict[int, pq.FileMetaData] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.records)

    def episode(self, index: int) -> Episode:
        """Return a whole episode.

        Raises:
            ValueError: if its file is damaged or does not fit the manifest.
        """
        seed, env = self._seed(index), self.info.env

        def read(reader: pq.ParquetFile) -> Episode:
            whole = columns.decode(reader.read(), reader.schema_arrow, seed=seed, env=env)
            self._known(whole.steps.actions)
            return whole

        return self._read(index, read)

    def frames(self, index: int, start: int, stop: int) -> np.ndarray:
        """Return frames `start` to `stop` of an episode, uint8 (stop - start, H, W, 3); other frames are not read.

        Raises:
            ValueError: if the range is not inside the episode, or the file is damaged.
        """
        count = int(self.lengths[index])
        if not 0 <= start < stop <= count:
            raise ValueError(f"episode {index} has frames 0 to {count}, got {start} to {stop}")
        groups = range(start // ROW_GROUP, (stop - 1) // ROW_GROUP + 1)

        def read(reader: pq.ParquetFile) -> np.ndarray:
            frames = columns.frames(
                reader.read_row_groups(groups, columns=["frame"], use_threads=False), reader.schema_arrow
            )
            return frames[start - groups.start * ROW_GROUP :][: stop - start]

        return self._read(index, read)

    def actions(self, index: int) -> np.ndarray:
        """Return the actions of an episode, int64 (T,); no frame is read.

        Raises:
            ValueError: if one is none of the data set's, or the file is damaged.
        """
        return self._read(
            index, lambda reader: self._known(columns.between(reader.read(["action"]), "action", np.int64))
        )

    def steps(self, index: int) -> Steps:
        """Return actions, rewards and ends of an episode, with the step that showed no frame; no frame is read."""

        def read(reader: pq.ParquetFile) -> Steps:
            steps = columns.steps(reader.read(list(STEP_COLUMNS)), reader.schema_arrow, self.info.env)
            self._known(steps.actions)
            return steps

        return self._read(index, read)

    def variables(self, index: int) -> dict[str, np.ndarray]:
        """Return the game variables of an episode, float64 (T+1,) each; no frame is read.

        Raises:
            ValueError: if a pose is not finite, or the file is damaged.
        """
        names = list(self.info.variables)
        return self._read(index, lambda reader: columns.variables(reader.read(names), names))

    def verify(self, index: int) -> str | None:
        """Return what is wrong with the file of an episode, None if it is as it was written."""
        record = self.records[index]
        try:
            content = read_regular(self.path / record.file, max_bytes=MAX_EPISODE_BYTES)
        except OSError as error:
            return f"{record.file}: {error.strerror}"
        except ValueError as error:
            return str(error)
        if hashlib.sha256(content).hexdigest() != record.sha256:
            return f"{record.file}: SHA-256 does not match the manifest"
        try:
            self._read(index, self._check_columns, source=pa.BufferReader(content))
        except ValueError as error:
            return str(error)
        return None

    def _check_columns(self, reader: pq.ParquetFile) -> None:
        """Raise ValueError unless actions, rewards, ends and variables are what they can be; no frame is looked at."""
        names = list(self.info.variables)
        table = reader.read([*STEP_COLUMNS, *names])
        self._known(columns.steps(table, reader.schema_arrow, self.info.env).actions)
        columns.variables(table, names)

    def _known(self, actions: np.ndarray) -> np.ndarray:
        """Return actions that the data set has a name for."""
        count = len(self.info.action_names)
        unknown = actions[(actions < 0) | (actions >= count)]
        if len(unknown):
            raise ValueError(f"an action is {unknown[0]}; the data set has actions 0 to {count - 1}")
        return actions

    def _seed(self, index: int) -> int:
        return self.records[index].seed

    def _read(self, index: int, read: Any, source: Any = None) -> Any:
        """Return what `read` makes of the file of an episode, or of `source`, its content."""
        file = self.path / self.records[index].file
        try:
            # A reader of its own for each call: ParquetFile is not made for several threads. The footer is kept.
            with self._lock:
                footer = self._footers.get(index)
            if footer is None and not stat.S_ISREG(os.stat(file).st_mode):  # a pipe would be waited for
                raise ValueError("it is no regular file")
            with _open(str(file) if source is None else source, footer) as reader:
                if footer is None:
                    self._keep(index, reader.metadata)
                return read(reader)
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())  # Arrow's take several lines
            raise ValueError(f"cannot read {file}: {reason}") from error

    def _keep(self, index: int, footer: pq.FileMetaData) -> None:
        if footer.num_rows != self.records[index].frames:
            raise ValueError(f"{footer.num_rows} frames, {self.records[index].frames} in the manifest")
        for group in range(footer.num_row_groups):  # more would be decompressed at once than any recorder wrote
            if footer.row_group(group).num_rows > ROW_GROUP:
                raise ValueError(f"a row group has {footer.row_group(group).num_rows} frames, not {ROW_GROUP} at most")
        with self._lock:
            self._footers[index] = footer
            if len(self._footers) > OPEN_EPISODES:
                self._footers.popitem(last=False)


def _open(source: Any, footer: pq.FileMetaData | None = None) -> pq.ParquetFile:
    return pq.ParquetFile(source, metadata=footer, page_checksum_verification=True)
