"""Training data: random clips of frames, and random clips of cached codes with their actions."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

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
LINE_EVERY_SECONDS = 10.0


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
            longest = int(lengths[episodes].max(initial=0))
            raise ValueError(
                f"no episode has {clip} frames, the longest {longest}: record longer ones or set clip lower"
            )
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


def split_episodes(lengths: np.ndarray, *, clip: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (training, held-out) indices of the episodes that have a clip of `clip` frames, given their lengths.

    One episode in HELD_OUT_EVERY is held out, the last one where none of these is long enough. A single episode has to
    serve as both.

    Raises:
        ValueError: if no episode is long enough.
    """
    every = np.arange(len(lengths))
    block = min(HELD_OUT_EVERY, len(lengths))
    chosen, is_long = every % block == block - 1, lengths >= clip
    if not is_long.any():
        Windows.over(lengths, every, clip=clip)  # says so
    training, held_out = every[~chosen & is_long], every[chosen & is_long]
    if not len(held_out) and len(training) > 1:
        return training[:-1], training[-1:]
    if not len(training) and len(held_out) > 1:
        return held_out[:-1], held_out[-1:]
    return (training if len(training) else held_out), (held_out if len(held_out) else training)


def fitting_clip(lengths: np.ndarray, clip: int, *, visible: bool = True) -> int:
    """Return `clip`, or the longest episode's length where that is shorter; say on stderr what is left out.

    Raises:
        ValueError: if no episode has two frames, between which an action could be.
    """
    longest = int(lengths.max(initial=0))
    if longest < 2:
        raise ValueError("no episode has two frames: there is no action to learn from; record longer episodes")
    if longest < clip and visible:
        print(f"clips have {longest} frames instead of {clip}: no episode is longer", file=sys.stderr)
    clip = min(clip, longest)
    if (short := int((lengths < clip).sum())) and visible:
        print(f"{short} of {len(lengths)} episodes are shorter than a clip of {clip} frames: left out", file=sys.stderr)
    return clip


def held_out_clips(most: int, minutes: float) -> int:
    """Return how many held-out clips to ask about: at most so many, fewer where asking would take longer than a run."""
    return int(min(most, max(HELD_OUT_LEAST, HELD_OUT_A_MINUTE * minutes)))


class FrameClips:
    """Clips of frames, read from the data set when they are drawn."""

    def __init__(self, dataset: EpisodeDataset, *, clip: int, episodes: int = 0) -> None:
        self.dataset = dataset
        training, held_out = split_episodes(dataset.lengths[: episodes or len(dataset)], clip=clip)
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
    the last frame stands in for the one that is missing. Clips of several lengths share one split of the episodes if
    `split_clip`, the length that decides which are long enough, is the same.
    """

    def __init__(
        self,
        dataset: EpisodeDataset,
        codes: np.ndarray,
        *,
        clip: int,
        episodes: int = 0,
        last_steps: bool = False,
        split_clip: int = 0,
    ) -> None:
        self.codes = codes
        self.first = np.concatenate([[0], np.cumsum(dataset.lengths)[:-1]])
        count = episodes or len(dataset)
        self.actions = [dataset.steps(i).actions if last_steps else dataset.actions(i) for i in range(count)]
        self.frames = dataset.lengths
        lengths = np.array([len(actions) + 1 for actions in self.actions]) if last_steps else dataset.lengths
        training, held_out = split_episodes(dataset.lengths[:count], clip=split_clip or clip)
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


def cache_directory(dataset: EpisodeDataset, tokenizer: Tokenizer, out: Path) -> Path:
    """Return where the codes of a data set are kept: beside it, or in `out` where it cannot be written.

    A complete cache beside the data set is read, whether it can be written or not.
    """
    beside = dataset.path / "codes"
    path, marks_path = _cache_files(dataset, tokenizer, beside)
    is_complete = path.exists() and marks_path.exists() and bool(np.load(marks_path, mmap_mode="r").all())
    can_write = os.access(beside if beside.exists() else dataset.path, os.W_OK)
    return beside if is_complete or can_write else out / "codes"


def _cache_files(dataset: EpisodeDataset, tokenizer: Tokenizer, directory: Path) -> tuple[Path, Path]:
    name = f"{dataset.fingerprint[:12]}-{tokenizer.fingerprint()[:12]}"
    return directory / f"codes-{name}.npy", directory / f"codes-{name}.done.npy"


def cached_codes(dataset: EpisodeDataset, tokenizer: Tokenizer, *, directory: Path, episodes: int = 0) -> np.ndarray:
    """Return the codes of every frame of a data set, uint16 (frames h w), memory-mapped from `directory`.

    With `episodes`, only those of the first so many are filled in. They are computed at the first call for this data
    set and this tokenizer, by all processes of a distributed run together. Finished episodes are marked, so an
    interrupted computation goes on where it stopped.

    Raises:
        OSError: if the disk has no room for them; what is there already is not touched.
    """
    path, marks_path = _cache_files(dataset, tokenizer, directory)
    grid = tokenizer.config.code_grid
    processes = PartialState(cpu=tokenizer.device.type == "cpu")
    if processes.is_main_process and not (path.exists() and marks_path.exists()):
        directory.mkdir(parents=True, exist_ok=True)
        _reserve(path, (int(dataset.lengths.sum()), grid, grid), np.uint16)
        _reserve(marks_path, (len(dataset),), np.bool_)
    processes.wait_for_everyone()
    done = np.array(np.load(marks_path, mmap_mode="r")[: episodes or None])
    missing = np.flatnonzero(~done)[processes.process_index :: processes.num_processes]
    if len(missing):
        codes, marks = np.load(path, mmap_mode="r+"), np.load(marks_path, mmap_mode="r+")
        first = np.concatenate([[0], np.cumsum(dataset.lengths)])
        for index in with_progress(missing.tolist(), "encoding episodes", visible=processes.is_main_process):
            _encode_episode(dataset, tokenizer, index, codes[first[index] : first[index + 1]])
            codes.flush()
            marks[index] = True
    processes.wait_for_everyone()
    return np.load(path, mmap_mode="r")


def _reserve(path: Path, shape: tuple[int, ...], dtype: type) -> None:
    """Create a file of zeros under a temporary name, then give it its name.

    Its blocks are allocated at once: a memory map of a file with holes kills the process once the disk is full.
    """
    temporary = path.with_name(f".{path.name}")
    try:
        np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape).flush()
        with open(temporary, "r+b") as file:
            _allocate(file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        size = math.prod(shape) * np.dtype(dtype).itemsize / 2**20
        raise OSError(
            error.errno, f"{error.strerror}: the codes of the data set take {size:,.1f} MiB", str(path)
        ) from error
    os.replace(temporary, path)


def _allocate(file: BinaryIO, size: int) -> None:
    """Give a file of `size` bytes all its blocks: by the system call where there is one, by writing elsewhere."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    start = file.read(4096)
    file.seek(0)
    for offset in range(0, size, 2**20):
        file.write((start if not offset else b"").ljust(min(2**20, size - offset), b"\0"))


def _encode_episode(dataset: EpisodeDataset, tokenizer: Tokenizer, index: int, codes: np.ndarray) -> None:
    for start in range(0, len(codes), ENCODED_AT_ONCE):
        stop = min(start + ENCODED_AT_ONCE, len(codes))
        with autocast(tokenizer.device):
            grids = tokenizer.encode(dataset.frames(index, start, stop)[None])
        codes[start:stop] = grids[0].cpu().numpy()


def with_progress(items: Sequence[int], text: str, *, visible: bool, signals: Sequence[int] = ()) -> Iterator[int]:
    """Yield items, with a progress bar on stderr, or a line now and then where that is no terminal.

    Raises:
        Stopped: once there is a signal in `signals`, those that came so far.
    """
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console, said = Console(stderr=True), time.monotonic()
    with Progress(*columns, console=console, disable=not visible or not console.is_terminal) as bar:
        for done, item in enumerate(bar.track(items)):
            if signals:
                raise Stopped(signals[-1])
            if visible and not console.is_terminal and time.monotonic() - said >= LINE_EVERY_SECONDS:
                said = time.monotonic()
                print(f"{text}: {done} of {len(items)}", file=sys.stderr, flush=True)
            yield item
