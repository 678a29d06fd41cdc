"""Minari's data sets: read by Minari itself, and written so that a round trip gives the same frames and steps.

    DIR/data/metadata.json      spaces, format, counts
    DIR/data/...                the episodes, in HDF5, Arrow or Parquet

An episode has T+1 observations and T actions, as ours has. Where a game ended without showing a last frame, the frame
before stands there once more, and the info `worldmodel_frame_shown` is false.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from gymnasium import spaces

from ..envs.choices import default_table
from ..envs.picture import to_rgb
from ..rollouts import Episode, EpisodeDataset
from ..rollouts.lock import locked
from .exporting import refuse_used
from .steps_file import StepTable

METADATA = "metadata.json"
FORMAT = "parquet"  # the smallest of Minari's formats: 4% of HDF5's size for Pong
MIN_SIDE = 32  # what is smaller is no picture but symbols, as MiniGrid's 7x7: Minari's own limit
NAMES, RATE, SHOWN = "worldmodel_action_names", "worldmodel_frames_per_second", "worldmodel_frame_shown"


def is_minari(path: Path) -> bool:
    """Whether `path` is a data set of Minari's: its folder, or the folder `data` in it."""
    return _find(path) is not None


class MinariDataset:
    """A data set of Minari's.

    Attributes:
        action_names: of the actions 0, 1, 2, ...: its own, the game's, or `action_0`, ...
        frames_per_second: 0 where it does not say it.

    Raises:
        ValueError: if the package is missing, the data set is damaged, has no picture or several, or actions that are
            no finite list.
    """

    def __init__(self, path: Path) -> None:
        place = _find(path)
        if place is None:
            raise ValueError(f"no data set of Minari's at {path}")
        self.path = path
        library = _library()
        try:
            metadata = json.loads((place / METADATA).read_text())
            # Without them Minari would call what the file names as its game: any function of any module.
            spaces_said = isinstance(metadata["observation_space"], str) and isinstance(metadata["action_space"], str)
            if not spaces_said:
                raise ValueError("it does not say its spaces")
            self._dataset = library.MinariDataset(place.resolve())
            self.frames_per_second = float(metadata.get(RATE, 0.0))
            self._keys = _picture_keys(self._dataset.observation_space)
            table = _action_table(self._dataset)
        except Exception as error:  # another library's reader may raise anything on a damaged file
            raise ValueError(f"cannot read the data set of Minari's {path}: {_said(error)}") from error
        self._values = list(table.values())
        said = metadata.get(NAMES)
        self.action_names: tuple[str, ...] = tuple(said if said and len(said) == len(table) else table)
        self._read = lru_cache(maxsize=1)(self._read_episode)  # an episode's steps are asked for, then its frames

    def episodes(self) -> list[MinariEpisode]:
        """Return the episodes in their order."""
        return [MinariEpisode(dataset=self, index=int(index)) for index in self._dataset.episode_indices]

    def read(self, index: int) -> Any:
        """Return an episode as Minari reads it.

        Raises:
            ValueError: if it is damaged.
        """
        return self._read(index)

    def _read_episode(self, index: int) -> Any:
        try:
            return next(self._dataset.iterate_episodes([index]))
        except Exception as error:  # as above
            raise ValueError(f"cannot read episode {index} of {self.path}: {_said(error)}") from error

    def pictures(self, observations: Any) -> np.ndarray:
        """Return what is the picture in the observations of an episode, uint8 (T+1, ...)."""
        for key in self._keys:
            observations = observations[key]
        return np.asarray(observations)

    def number(self, action: Any) -> int:
        """Return which of the actions a value is.

        Raises:
            ValueError: if it is none of them.
        """
        for number, value in enumerate(self._values):
            if np.array_equal(value, action):
                return number
        raise ValueError(
            f"{self.path} has the action {np.asarray(action).tolist()}, which is none of the {len(self._values)} "
            f"that have a name ({', '.join(self.action_names)})"
        )


@dataclass(frozen=True, kw_only=True)
class MinariEpisode:
    """One episode of a data set of Minari's, ready to be imported."""

    dataset: MinariDataset
    index: int

    @property
    def name(self) -> str:
        return f"episode {self.index} of {self.dataset.path}"

    def read_frames(self) -> Iterator[np.ndarray]:
        """Yield the frames, uint8 (H, W, 3); of pictures that are stacked, the newest."""
        episode = self.dataset.read(self.index)
        pictures = self.dataset.pictures(episode.observations)
        newest = _newest(pictures)
        for picture in newest[: len(newest) - int(_ended_unseen(episode))]:
            yield to_rgb(picture)

    def read_steps(self) -> StepTable:
        """Return the steps.

        Raises:
            ValueError: if the episode goes on after its end, or an action is none of the action space.
        """
        episode = self.dataset.read(self.index)
        ends = np.asarray(episode.terminations) | np.asarray(episode.truncations)
        if ends[:-1].any():
            raise ValueError(f"{self.name} ends at step {int(ends.argmax())} and goes on; it has {len(ends)} steps")
        return StepTable(
            actions=tuple(self.dataset.number(action) for action in episode.actions),
            rewards=tuple(float(reward) for reward in episode.rewards),
            terminated=bool(np.any(episode.terminations)),
            truncated=bool(np.any(episode.truncations)),
        )


def write(dataset: EpisodeDataset, path: Path) -> None:
    """Write `dataset` into the new directory `path` as a data set of Minari's, without loss.

    `minari.load_dataset` finds it where the directory is named NAME-v0 and lies in MINARI_DATASETS_PATH.

    Raises:
        ValueError: if the package is missing, the directory holds something already, or an episode cannot be read.
    """
    library = _library()
    from minari.dataset.minari_storage import MinariStorage

    size, names = dataset.info.frame_size, dataset.info.action_names
    with locked(path):
        refuse_used(path)
        storage = MinariStorage.new(
            (path / "data").resolve(),
            spaces.Box(0, 255, (size, size, 3), np.uint8),
            spaces.Discrete(len(names)),
            data_format=FORMAT,
            jpeg_encoding=False,
        )
        storage.update_metadata(
            {
                "dataset_id": _dataset_id(path.resolve().name),
                "minari_version": library.__version__,
                "algorithm_name": dataset.info.policy,
                "description": f"{dataset.info.env}: {', '.join(names)}",
                NAMES: list(names),
                RATE: dataset.info.frames_per_second,
            }
        )
        for index in range(len(dataset)):
            storage.update_episodes([_buffer(dataset.episode(index))])


def _buffer(episode: Episode) -> Any:
    from minari.data_collector.episode_buffer import EpisodeBuffer

    frames, steps = episode.frames, episode.steps
    shown = np.arange(len(steps.actions) + 1) < len(frames)
    return EpisodeBuffer(
        seed=episode.seed,
        observations=frames if shown.all() else np.concatenate([frames, frames[-1:]]),
        actions=steps.actions,
        rewards=steps.rewards,
        terminations=steps.terminated,
        truncations=steps.truncated,
        infos={SHOWN: shown.tolist()},  # an array of one dimension Minari could not read back from Parquet
    )


def _library() -> ModuleType:
    try:
        import minari
    except ImportError as error:
        raise ValueError(f"Minari's data sets need {error.name}: install it with pip install -e '.[minari]'") from error
    module: ModuleType = minari
    return module


def _find(path: Path) -> Path | None:
    """Return the folder of `path` that holds Minari's metadata, None if none does."""
    for place in (path, path / "data"):
        try:
            metadata = json.loads((place / METADATA).read_text())
        except (OSError, ValueError):
            continue
        if isinstance(metadata, Mapping) and "data_format" in metadata:
            return place
    return None


def _said(error: Exception) -> str:
    missing = isinstance(error, ImportError)
    said = " ".join(str(error).split()) or type(error).__name__
    return f"{said}: pip install -e '.[minari]'" if missing else said


def _dataset_id(name: str) -> str:
    """Return the directory's name as one of Minari's, NAME-v0."""
    if re.fullmatch(r"[-\w]+-v\d+", name):
        return name
    return (re.sub(r"[^-\w]+", "-", name).strip("-") or "recordings") + "-v0"


def _picture_keys(space: spaces.Space[Any]) -> tuple[str | int, ...]:
    """Return the keys that lead to the one picture among the observations."""
    found = list(_pictures(space, ()))
    if len(found) != 1:
        wanted = f"a picture is uint8 and at least {MIN_SIDE}x{MIN_SIDE}"
        which = ", ".join("/".join(map(str, keys)) for keys in found) or "none"
        raise ValueError(f"one picture is needed among the observations, found {len(found)} ({which}); {wanted}")
    return found[0]


def _pictures(space: spaces.Space[Any], keys: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from _pictures(part, (*keys, key))
    elif isinstance(space, spaces.Tuple):
        for index, part in enumerate(space.spaces):
            yield from _pictures(part, (*keys, index))
    elif isinstance(space, spaces.Box) and space.dtype == np.uint8 and 2 <= len(space.shape) <= 4:
        height, width = sorted(space.shape[-3:])[-2:]
        if min(height, width) >= MIN_SIDE:
            yield keys


def _newest(pictures: np.ndarray) -> np.ndarray:
    """Return the newest of stacked pictures: (T, N, H, W, C), or four grey ones as (T, 4, H, W) or (T, H, W, 4)."""
    if pictures.ndim == 5:
        return pictures[:, -1]
    if pictures.ndim == 4 and pictures.shape[1] == 4 and pictures.shape[3] not in (1, 3, 4):
        return pictures[:, -1]
    if pictures.ndim == 4 and pictures.shape[3] == 4 and not (pictures[..., 3] == 255).all():  # else it is RGBA
        return pictures[..., 3]
    return pictures


def _action_table(dataset: Any) -> Mapping[str, Any]:
    """Return name -> value of a list of actions."""
    space: spaces.Space[Any] = dataset.action_space
    if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        raise ValueError(f"the action space is {space}; only Discrete, MultiDiscrete and MultiBinary can be imported")
    env_id = dataset.env_spec.id if dataset.env_spec is not None else ""
    return default_table(None, env_id, space)


def _ended_unseen(episode: Any) -> bool:
    shown: Sequence[bool] = (episode.infos or {}).get(SHOWN, [True])
    return not bool(shown[-1])
