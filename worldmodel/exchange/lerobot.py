"""LeRobot's data set layout, version 3: read, and written so that a round trip gives the same frames and steps.

    meta/info.json                               features, rate, counts
    meta/tasks.parquet                           what is to be done, with its number
    meta/stats.json                              minimum, maximum, mean and deviation of each feature
    meta/episodes/chunk-000/file-000.parquet     where each episode lies
    data/chunk-000/file-000.parquet              one row a frame: the action done after it, the picture as PNG
    videos/KEY/chunk-000/file-000.mp4            or the pictures, as video, of several episodes one after another

A row's action is what was done after its frame. LeRobot has no frame without an action, so the last frame of an
episode that ended in view has the action -1.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..rollouts import Episode, EpisodeDataset
from ..rollouts.lock import locked
from .exporting import refuse_used
from .steps_file import StepTable

VERSION = "v3.0"
INFO = Path("meta/info.json")
KEY = "observation.images.screen"
UNKNOWN_ACTION = -1
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CHUNK_FILES = 1000  # files in a folder, as LeRobot has it


def is_lerobot(path: Path) -> bool:
    """Whether `path` is a data set in LeRobot's layout."""
    return (path / INFO).is_file()


class LeRobotDataset:
    """A data set in LeRobot's layout, of version 3.

    Raises:
        ValueError: if it is of another version, has no picture, or its actions are no single whole number.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._info = json.loads((path / INFO).read_text())
            version, features = self._info["codebase_version"], self._info["features"]
            self.frames_per_second = float(self._info["fps"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path / INFO} is damaged: {error}") from error
        if not str(version).startswith("v3"):
            raise ValueError(
                f"{path} is a LeRobot data set {version}; convert it to {VERSION} with lerobot's own script"
            )
        cameras = [name for name, feature in features.items() if feature["dtype"] in ("image", "video")]
        if not cameras:
            raise ValueError(f"{path} has no pictures among {', '.join(features)}")
        self._camera = KEY if KEY in cameras else cameras[0]
        self.is_video = features[self._camera]["dtype"] == "video"
        if "action" not in features or int(np.prod(features["action"]["shape"])) != 1:
            raise ValueError(
                f"the actions of {path} have the shape {features.get('action', {}).get('shape')}; only one number an "
                "action, the index of its name, can be imported"
            )
        self.action_names: tuple[str, ...] = tuple(self._info.get("worldmodel_action_names", ()))

    def episodes(self) -> list[LeRobotEpisode]:
        """Return the episodes in their order.

        Raises:
            ValueError: if the files that list them cannot be read.
        """
        files = sorted((self.path / "meta/episodes").rglob("*.parquet"))
        try:
            rows = [row for file in files for row in pq.read_table(file).to_pylist()]
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"cannot read {self.path / 'meta/episodes'}: {error}") from error
        rows.sort(key=lambda row: int(row["episode_index"]))
        return [LeRobotEpisode(dataset=self, row=row) for row in rows]

    def table(self, row: Mapping[str, Any], columns: Sequence[str]) -> pa.Table:
        """Return the rows of one episode."""
        file = self.path / self._info["data_path"].format(
            chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
        )
        try:
            schema = pq.read_schema(file)
            wanted = ["episode_index", *(name for name in columns if name in schema.names)]
            return pq.read_table(file, columns=wanted, filters=[("episode_index", "=", int(row["episode_index"]))])
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"cannot read {file}: {error}") from error

    def pictures(self, row: Mapping[str, Any]) -> Iterator[np.ndarray]:
        """Yield the frames of one episode, uint8 (H, W, 3)."""
        return self._from_video(row) if self.is_video else self._from_table(row)

    def _from_table(self, row: Mapping[str, Any]) -> Iterator[np.ndarray]:
        from PIL import Image

        for value in self.table(row, [self._camera])[self._camera]:
            content = value.as_py()["bytes"]
            with Image.open(io.BytesIO(content)) as picture:
                yield np.asarray(picture.convert("RGB"))

    def _from_video(self, row: Mapping[str, Any]) -> Iterator[np.ndarray]:
        import av

        prefix = f"videos/{self._camera}"
        file = self.path / self._info["video_path"].format(
            video_key=self._camera, chunk_index=row[f"{prefix}/chunk_index"], file_index=row[f"{prefix}/file_index"]
        )
        # A frame's time may be off by rounding: half a frame is the border between two episodes.
        first = float(row[f"{prefix}/from_timestamp"]) - 0.5 / self.frames_per_second
        left = int(row["length"])
        try:
            with av.open(str(file)) as container:
                for frame in container.decode(video=0):
                    if frame.time is not None and frame.time >= first and left:
                        left -= 1
                        yield frame.to_ndarray(format="rgb24")
                    if not left:
                        return
        except (OSError, IndexError, av.FFmpegError) as error:
            raise ValueError(f"cannot read the video {file}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class LeRobotEpisode:
    """One episode of a LeRobot data set, ready to be imported."""

    dataset: LeRobotDataset
    row: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"episode {self.row['episode_index']} of {self.dataset.path}"

    def read_frames(self) -> Iterator[np.ndarray]:
        """Yield the frames, uint8 (H, W, 3)."""
        return self.dataset.pictures(self.row)

    def read_steps(self) -> StepTable:
        """Return the steps; a row without an action is the last frame's.

        Raises:
            ValueError: if an action is no whole number.
        """
        actions = self._column("action", 0)
        if not np.array_equal(actions, np.rint(actions)):
            raise ValueError(
                f"{self.name} has actions that are no whole numbers; only indices of names can be imported"
            )
        count = len(actions) - int(len(actions) > 0 and actions[-1] == UNKNOWN_ACTION)
        dones, truncated = self._column("next.done", 0), self._column("next.truncated", 0)
        return StepTable(
            actions=tuple(int(action) for action in actions[:count]),
            rewards=tuple(float(reward) for reward in self._column("next.reward", 0)[:count]),
            terminated=bool(dones[:count].any()) and not bool(truncated[:count].any()),
            truncated=bool(truncated[:count].any()),
        )

    @cached_property
    def _table(self) -> pa.Table:
        return self.dataset.table(self.row, ["action", "next.reward", "next.done", "next.truncated"])

    def _column(self, name: str, missing: float) -> np.ndarray:
        table = self._table
        if name not in table.column_names:
            return np.full(len(table), missing)
        return np.array([np.ravel(value)[0] for value in table[name].to_pylist()], dtype=np.float64)


def write(dataset: EpisodeDataset, path: Path) -> None:
    """Write `dataset` into the new directory `path` in LeRobot's layout, a file an episode, pictures as PNG.

    Raises:
        ValueError: if the directory holds something already, or an episode cannot be read.
    """
    with locked(path):
        refuse_used(path)
        (path / "meta/episodes/chunk-000").mkdir(parents=True)
        rows, first = [], 0
        for index in range(len(dataset)):
            episode = dataset.episode(index)
            chunk, file = divmod(index, CHUNK_FILES)
            target = path / DATA_PATH.format(chunk_index=chunk, file_index=file)
            target.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(_rows(episode, index, first, dataset.info.frames_per_second), target, compression="zstd")
            rows.append(_episode_row(index, len(episode.frames), first, chunk, file, dataset.info.env))
            first += len(episode.frames)
        pq.write_table(pa.Table.from_pylist(rows), path / "meta/episodes/chunk-000/file-000.parquet")
        tasks = {"task_index": pa.array([0], pa.int64()), "__index_level_0__": [_task(dataset.info.env)]}
        pandas = {
            "index_columns": ["__index_level_0__"],
            "column_indexes": [],
            "columns": [],
            "pandas_version": "2.0.0",
        }
        table = pa.table(tasks).replace_schema_metadata({"pandas": json.dumps(pandas)})
        pq.write_table(table, path / "meta/tasks.parquet")
        (path / "meta/stats.json").write_text(json.dumps(_stats(dataset), indent=4))
        (path / INFO).write_text(json.dumps(_info(dataset), indent=4))


def _task(env: str) -> str:
    return f"play {env}"


def _rows(episode: Episode, index: int, first: int, rate: float) -> pa.Table:
    count, steps = len(episode.frames), episode.steps

    def padded(values: np.ndarray, rest: float | bool) -> list[Any]:
        return [*values.tolist(), *[rest] * (count - len(values))]

    return pa.table(
        {
            KEY: pa.array([{"bytes": _png(frame), "path": None} for frame in episode.frames], PICTURE),
            "action": pa.array([[action] for action in padded(steps.actions, UNKNOWN_ACTION)], pa.list_(pa.int64(), 1)),
            "next.reward": pa.array(padded(steps.rewards, 0.0), pa.float32()),
            "next.done": pa.array(padded(steps.terminated | steps.truncated, False), pa.bool_()),
            "next.truncated": pa.array(padded(steps.truncated, False), pa.bool_()),
            "timestamp": pa.array(np.arange(count) / rate, pa.float32()),
            "frame_index": pa.array(np.arange(count), pa.int64()),
            "episode_index": pa.array(np.full(count, index), pa.int64()),
            "index": pa.array(np.arange(first, first + count), pa.int64()),
            "task_index": pa.array(np.zeros(count, np.int64), pa.int64()),
        }
    )


def _png(frame: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, format="PNG")
    return stream.getvalue()


def _episode_row(index: int, length: int, first: int, chunk: int, file: int, env: str) -> dict[str, Any]:
    return {
        "episode_index": index,
        "tasks": [_task(env)],
        "length": length,
        "data/chunk_index": chunk,
        "data/file_index": file,
        "dataset_from_index": first,
        "dataset_to_index": first + length,
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
    }


def _info(dataset: EpisodeDataset) -> dict[str, Any]:
    size, count = dataset.info.frame_size, len(dataset)

    def number(dtype: str, names: list[str] | None = None) -> dict[str, Any]:
        return {"dtype": dtype, "shape": [1], "names": names}

    features = {
        KEY: {"dtype": "image", "shape": [size, size, 3], "names": ["height", "width", "channels"]},
        "action": number("int64", ["action"]),
        "next.reward": number("float32"),
        "next.done": number("bool"),
        "next.truncated": number("bool"),
        "timestamp": number("float32"),
        **{name: number("int64") for name in ("frame_index", "episode_index", "index", "task_index")},
    }
    rate = dataset.info.frames_per_second
    return {
        "codebase_version": VERSION,
        "robot_type": None,
        "total_episodes": count,
        "total_frames": int(dataset.lengths.sum()),
        "total_tasks": 1,
        "chunks_size": CHUNK_FILES,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 500,
        "fps": int(rate) if rate == int(rate) else rate,
        "splits": {"train": f"0:{count}"},
        "data_path": DATA_PATH,
        "video_path": None,
        "features": features,
        "worldmodel_action_names": list(dataset.info.action_names),
    }


def _stats(dataset: EpisodeDataset) -> dict[str, Any]:
    """Return what LeRobot keeps of each number, over all frames; of pictures, over the first frame of each episode."""
    steps = [dataset.steps(index) for index in range(len(dataset))]
    first = np.stack([dataset.frames(index, 0, 1)[0] for index in range(len(dataset))]) / 255.0
    numbers = {
        "action": np.concatenate([step.actions for step in steps]).astype(float),
        "next.reward": np.concatenate([step.rewards for step in steps]).astype(float),
    }
    found = {name: _summary(values[:, None], (0,), int(dataset.lengths.sum())) for name, values in numbers.items()}
    pictures = _summary(first, (0, 1, 2), len(first))
    found[KEY] = {
        name: value if name == "count" else [[[channel]] for channel in value] for name, value in pictures.items()
    }
    return found


def _summary(values: np.ndarray, axes: tuple[int, ...], count: int) -> dict[str, Any]:
    return {
        "min": values.min(axis=axes).tolist(),
        "max": values.max(axis=axes).tolist(),
        "mean": values.mean(axis=axes).tolist(),
        "std": values.std(axis=axes).tolist(),
        "count": [count],
    }
