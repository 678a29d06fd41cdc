"""What training sees: random clips of frames, and random clips of cached codes with their actions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..rollouts import EpisodeDataset
from ..runtime import autocast
from ..tokenizer.model import Tokenizer
from .stopping import Stopped

HELD_OUT_EVERY = 50  # one episode in so many is kept from training, for the log's held-out numbers
HELD_OUT_LEAST, HELD_OUT_A_MINUTE = 3, 2  # clips of these episodes, for each minute of a run
ENCODED_AT_ONCE = 64


@dataclass(frozen=True)
class Windows:
    """All places in some episodes where a clip of `clip` frames fits: no clip crosses an episode."""

    episodes: np.ndarray  # (n) indices of the episodes
    places: np.ndarray  # (n) cumulative number of places
    clip: int

    @classmethod
    def over(cls, lengths: np.ndarray, episodes: np.ndarray, *, clip: int) -> Windows:
        """Return the windows of `clip` frames in `episodes`, given each episode's length in frames.

        Raises:
            ValueError: if no episode is long enough.
        """
        places = np.maximum(lengths[episodes] - clip + 1, 0)
        if not places.sum():
            raise ValueError(f"no episode has {clip} frames; record longer episodes or train on shorter clips")
        return cls(episodes, np.cumsum(places), clip)

    def __len__(self) -> int:
        return int(self.places[-1])

    def __getitem__(self, place: int) -> tuple[int, int]:
        """Return (episode, first frame) of a place in 0..len-1."""
        i = int(np.searchsorted(self.places, place, side="right"))
        before = int(self.places[i - 1]) if i else 0
        return int(self.episodes[i]), place - before

    def draw(self, rng: np.random.Generator, number: int) -> list[tuple[int, int]]:
        """Return `number` places drawn uniformly."""
        return [self[int(place)] for place in rng.integers(len(self), size=number)]

    def spread(self, number: int) -> list[tuple[int, int]]:
        """Return `number` places at even distances, the same ones every time."""
        return [self[int(place)] for place in np.linspace(0, len(self) - 1, number).round()]


def split_episodes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (training, held-out) indices of `count` episodes. A single episode has to serve as both."""
    every = np.arange(count)
    if count == 1:
        return every, every
    held_out = every % min(HELD_OUT_EVERY, count) == min(HELD_OUT_EVERY, count) - 1
    return every[~held_out], every[held_out]


def held_out_clips(most: int, minutes: float) -> int:
    """Return how many held-out clips to ask about: at most so many, fewer where asking would take longer than a run."""
    return int(min(most, max(HELD_OUT_LEAST, HELD_OUT_A_MINUTE * minutes)))


class FrameClips:
    """Clips of frames, read from the data set when they are drawn."""

    def __init__(self, dataset: EpisodeDataset, *, clip: int, episodes: int = 0) -> None:
        self.dataset = dataset
        training, held_out = split_episodes(episodes or len(dataset))
        self.training = Windows.over(dataset.lengths, training, clip=clip)
        self.held_out = Windows.over(dataset.lengths, held_out, clip=clip)

    def read(self, places: list[tuple[int, int]]) -> np.ndarray:
        """Return uint8 (b t H W 3)."""
        clip = self.training.clip
        return np.stack([self.dataset.frames(episode, start, start + clip) for episode, start in places])

    def previous(self, places: list[tuple[int, int]]) -> np.ndarray:
        """Return the frame before each frame of `read(places)`: uint8 (b t H W 3).

        The second frame of an episode stands in for the one before its first; an episode of one frame has only itself.
        """
        return np.stack([self._previous(episode, start) for episode, start in places])

    def _previous(self, episode: int, start: int) -> np.ndarray:
        clip = self.training.clip
        if start:
            return self.dataset.frames(episode, start - 1, start - 1 + clip)
        frames = self.dataset.frames(episode, 0, max(clip, min(2, int(self.dataset.lengths[episode]))))
        return np.concatenate([frames[1:2] if len(frames) > 1 else frames, frames[: clip - 1]])


class CodeClips:
    """Clips of codes with the actions between them, from the code cache.

    With `last_steps`, a last step whose next frame the game did not show belongs to the training clips as well: there
    the last frame stands in for the one that is missing.
    """

    def __init__(
        self, dataset: EpisodeDataset, codes: np.ndarray, *, clip: int, episodes: int = 0, last_steps: bool = False
    ) -> None:
        self.codes = codes
        self.first = np.concatenate([[0], np.cumsum(dataset.lengths)[:-1]])
        count = episodes or len(dataset)
        self.actions = [dataset.steps(i).actions if last_steps else dataset.actions(i) for i in range(count)]
        self.frames = dataset.lengths
        lengths = np.array([len(actions) + 1 for actions in self.actions]) if last_steps else dataset.lengths
        training, held_out = split_episodes(count)
        self.training = Windows.over(lengths, training, clip=clip)
        self.held_out = Windows.over(lengths, held_out, clip=clip)

    def read(self, places: list[tuple[int, int]], *, frames: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Return codes int64 (b t h w) and actions int64 (b t-1): of the first `frames` of each clip, 0 means all."""
        clip = frames or self.training.clip
        rows = [np.minimum(np.arange(start, start + clip), self.frames[e] - 1) + self.first[e] for e, start in places]
        codes = [self.codes[clip_rows] for clip_rows in rows]
        actions = [self.actions[e][start : start + clip - 1] for e, start in places]
        return torch.from_numpy(np.stack(codes).astype(np.int64)), torch.from_numpy(np.stack(actions).astype(np.int64))


def first_episodes(dataset: EpisodeDataset, number: int) -> int:
    """Return how many episodes to use when `number` are asked for, 0 meaning all.

    Raises:
        ValueError: if the data set has fewer.
    """
    if not 0 <= number <= len(dataset):
        raise ValueError(f"the data set has {len(dataset)} episodes, episodes={number} asks for others (0 means all)")
    return number or len(dataset)


def cached_codes(dataset: EpisodeDataset, tokenizer: Tokenizer, *, directory: Path, episodes: int = 0) -> np.ndarray:
    """Return the codes of every frame of a data set, uint16 (frames h w), memory-mapped from `directory`.

    With `episodes`, only those of the first so many are filled in. They are computed at the first call for this data
    set and this tokenizer, by all processes of a distributed run together. Finished episodes are marked, so an
    interrupted computation goes on where it stopped.
    """
    name = f"{dataset.fingerprint[:12]}-{tokenizer.fingerprint()[:12]}"
    path, marks_path = directory / f"codes-{name}.npy", directory / f"codes-{name}.done.npy"
    grid = tokenizer.config.code_grid
    processes = PartialState(cpu=tokenizer.device.type == "cpu")
    if processes.is_main_process and not (path.exists() and marks_path.exists()):
        directory.mkdir(parents=True, exist_ok=True)
        _reserve(path, (int(dataset.lengths.sum()), grid, grid), np.uint16)
        _reserve(marks_path, (len(dataset),), np.bool_)
    processes.wait_for_everyone()
    marks = np.load(marks_path, mmap_mode="r+")
    missing = np.flatnonzero(~marks[: episodes or None])[processes.process_index :: processes.num_processes]
    if len(missing):
        codes = np.load(path, mmap_mode="r+")
        first = np.concatenate([[0], np.cumsum(dataset.lengths)])
        for index in with_progress(missing.tolist(), "encoding episodes", visible=processes.is_main_process):
            _encode_episode(dataset, tokenizer, index, codes[first[index] : first[index + 1]])
            codes.flush()
            marks[index] = True
    processes.wait_for_everyone()
    return np.load(path, mmap_mode="r")


def _reserve(path: Path, shape: tuple[int, ...], dtype: type) -> None:
    """Create a file of zeros under a temporary name, then give it its name."""
    temporary = path.with_name(f".{path.name}")
    np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape).flush()
    os.replace(temporary, path)


def _encode_episode(dataset: EpisodeDataset, tokenizer: Tokenizer, index: int, codes: np.ndarray) -> None:
    for start in range(0, len(codes), ENCODED_AT_ONCE):
        stop = min(start + ENCODED_AT_ONCE, len(codes))
        with autocast(tokenizer.device):
            grids = tokenizer.encode(dataset.frames(index, start, stop)[None])
        codes[start:stop] = grids[0].cpu().numpy()


def with_progress(items: Sequence[int], text: str, *, visible: bool, signals: Sequence[int] = ()) -> Iterator[int]:
    """Yield items, with a progress bar on stderr.

    Raises:
        Stopped: once there is a signal in `signals`, those that came so far.
    """
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not visible) as bar:
        for item in bar.track(items):
            if signals:
                raise Stopped(signals[-1])
            yield item
