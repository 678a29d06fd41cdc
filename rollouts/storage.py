"""Episodes on disk: one Parquet file each, raw RGB under zstd with page checksums, readable from any frame on."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .episode import Episode
from .manifest import DatasetInfo, EpisodeRecord, fingerprint, read_info, read_records, write_atomically

ROW_GROUP = 16  # frames: what a random access has to decompress
COMPRESSION_LEVEL = 3  # zstd: 7 kB a maze frame at 5,200 frames/s; level 1 takes 8% more space for 36% more speed
METADATA_KEY = b"worldmodel"
OPEN_EPISODES = 4096  # how many footers and action columns are kept in memory


def episode_file(index: int) -> str:
    """Return the file name of episode `index`."""
    return f"episode-{index:06d}.parquet"


def write_episode(path: Path, index: int, episode: Episode, *, info: DatasetInfo) -> EpisodeRecord:
    """Write an episode into the data set directory `path`, all or nothing, and return its manifest line."""
    content = encode(episode, metadata={"index": index, "seed": episode.seed, "dataset": info.sha256})
    file = path / episode_file(index)
    write_atomically(file, content)
    return EpisodeRecord(
        index=index,
        file=file.name,
        frames=len(episode.frames),
        seed=episode.seed,
        terminated=episode.terminated,
        truncated=episode.truncated,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def adopt_episode(path: Path, index: int, *, info: DatasetInfo) -> EpisodeRecord | None:
    """Return the manifest line of an episode file that a killed recorder left complete, None if there is none."""
    file = path / episode_file(index)
    try:
        content = file.read_bytes()
        reader = _open(pa.BufferReader(content))
        metadata = json.loads(reader.schema_arrow.metadata[METADATA_KEY])
        if metadata["dataset"] != info.sha256 or metadata["index"] != index:
            return None
        episode = _decode(reader.read(), reader.schema_arrow, seed=metadata["seed"])
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


def encode(episode: Episode, *, metadata: dict[str, Any]) -> memoryview:
    """Return the bytes of an episode's Parquet file; the last row has no action and no reward."""
    count, height, width, _ = episode.frames.shape
    frames = pa.py_buffer(np.ascontiguousarray(episode.frames))
    last = np.arange(count) == count - 1
    columns: dict[str, pa.Array] = {
        "frame": pa.FixedSizeBinaryArray.from_buffers(pa.binary(height * width * 3), count, [None, frames]),
        "action": pa.array(np.append(episode.actions, 0), type=pa.int32(), mask=last),
        "reward": pa.array(np.append(episode.rewards, 0), type=pa.float32(), mask=last),
        "terminated": pa.array(last & episode.terminated),
        "truncated": pa.array(last & episode.truncated),
    }
    columns |= {name: pa.array(values, type=pa.float64()) for name, values in episode.variables.items()}
    described = json.dumps({**metadata, "height": height, "width": width}, sort_keys=True).encode()
    table = pa.table(columns).replace_schema_metadata({METADATA_KEY: described})
    stream = pa.BufferOutputStream()
    pq.write_table(
        table,
        stream,
        row_group_size=ROW_GROUP,
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    return memoryview(stream.getvalue())


class EpisodeDataset:
    """A recorded data set, read only. Episodes that are being added meanwhile are seen when it is opened again.

    Attributes:
        path: its directory.
        info: how it was recorded.
        records: its manifest, one line an episode.
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
        return self._read(index, lambda reader: _decode(reader.read(), reader.schema_arrow, seed=self._seed(index)))

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
            frames = _frames(reader.read_row_groups(groups, columns=["frame"], use_threads=False), reader.schema_arrow)
            return frames[start - groups.start * ROW_GROUP :][: stop - start]

        return self._read(index, read)

    def actions(self, index: int) -> np.ndarray:
        """Return the actions of an episode, int64 (T,); no frame is read."""
        return self._read(index, lambda reader: _numbers(reader.read(["action"])["action"], np.int64)[:-1])

    def variables(self, index: int) -> dict[str, np.ndarray]:
        """Return the game variables of an episode, float64 (T+1,) each; no frame is read."""
        names = list(self.info.variables)
        return self._read(index, lambda reader: _variables(reader.read(names), names))

    def verify(self, index: int) -> str | None:
        """Return what is wrong with the file of an episode, None if it is as it was written."""
        record = self.records[index]
        try:
            content = (self.path / record.file).read_bytes()
        except OSError as error:
            return f"{record.file}: {error.strerror}"
        if hashlib.sha256(content).hexdigest() != record.sha256:
            return f"{record.file}: SHA-256 does not match the manifest"
        rows = _open(pa.BufferReader(content)).metadata.num_rows
        return None if rows == record.frames else f"{record.file}: {rows} frames, {record.frames} in the manifest"

    def _seed(self, index: int) -> int:
        return self.records[index].seed

    def _read(self, index: int, read: Any) -> Any:
        file = self.path / self.records[index].file
        try:
            # A reader of its own for each call: ParquetFile is not made for several threads. The footer is kept.
            with self._lock:
                footer = self._footers.get(index)
            with _open(str(file), footer) as reader:
                if footer is None:
                    self._keep(index, reader.metadata)
                return read(reader)
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
            raise ValueError(f"cannot read {file}: {error}") from error

    def _keep(self, index: int, footer: pq.FileMetaData) -> None:
        if footer.num_rows != self.records[index].frames:
            raise ValueError(f"{footer.num_rows} frames, {self.records[index].frames} in the manifest")
        with self._lock:
            self._footers[index] = footer
            if len(self._footers) > OPEN_EPISODES:
                self._footers.popitem(last=False)


def _open(source: Any, footer: pq.FileMetaData | None = None) -> pq.ParquetFile:
    return pq.ParquetFile(source, metadata=footer, page_checksum_verification=True)


def _decode(table: pa.Table, schema: pa.Schema, *, seed: int) -> Episode:
    fixed = ("frame", "action", "reward", "terminated", "truncated")
    return Episode(
        frames=_frames(table, schema),
        actions=_numbers(table["action"], np.int64)[:-1],
        rewards=_numbers(table["reward"], np.float32)[:-1],
        terminated=bool(table["terminated"][-1].as_py()),
        truncated=bool(table["truncated"][-1].as_py()),
        variables=_variables(table, [name for name in table.column_names if name not in fixed]),
        seed=seed,
    )


def _frames(table: pa.Table, schema: pa.Schema) -> np.ndarray:
    """Return the frame column as uint8 (t, H, W, 3), a view where Arrow gave one piece."""
    described = json.loads(schema.metadata[METADATA_KEY])
    shape = (-1, described["height"], described["width"], 3)
    pieces = []
    for chunk in table["frame"].chunks:
        size = chunk.type.byte_width
        data = np.frombuffer(chunk.buffers()[1], np.uint8, count=len(chunk) * size, offset=chunk.offset * size)
        pieces.append(data.reshape(shape))
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _numbers(column: pa.ChunkedArray, dtype: type[np.generic]) -> np.ndarray:
    return column.fill_null(0).to_numpy().astype(dtype)


def _variables(table: pa.Table, names: list[str]) -> dict[str, np.ndarray]:
    return {name: _numbers(table[name], np.float64) for name in names}
