"""Where recordings are found: videos and folders of pictures, each with a file of steps beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..envs.picture import to_rgb
from ..video.mp4 import SUFFIXES as VIDEOS
from .steps_file import SUFFIXES as STEPS
from .steps_file import StepTable, read_steps

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One episode as it lies on the disk: a video or a folder of pictures, and its steps."""

    frames: Path
    steps: Path

    @property
    def name(self) -> str:
        """What the episode is called in messages."""
        return str(self.frames)

    def read_steps(self) -> StepTable:
        """Return its steps.

        Raises:
            ValueError: if they cannot be read.
        """
        return read_steps(self.steps)

    def read_frames(self) -> Iterator[np.ndarray]:
        """Yield every frame, uint8 (H, W, 3).

        Raises:
            ValueError: if a frame cannot be read.
        """
        return _read_pictures(self.frames) if self.frames.is_dir() else _read_video(self.frames)

    def frames_per_second(self) -> float | None:
        """Return the video's rate; None for pictures, which have none."""
        if self.frames.is_dir():
            return None
        import av

        try:
            with av.open(str(self.frames)) as container:
                rate = container.streams.video[0].average_rate
        except (OSError, IndexError, av.FFmpegError) as error:
            raise ValueError(f"cannot read the video {self.frames}: {error}") from error
        return float(rate) if rate else None


def common_rate(recordings: Sequence[Recording]) -> float:
    """Return the frame rate of all recordings.

    Raises:
        ValueError: if they differ, or have none.
    """
    rates = {rate for recording in recordings if (rate := recording.frames_per_second()) is not None}
    if len(rates) != 1:
        said = f"the videos have {', '.join(f'{rate:g}' for rate in sorted(rates))}" if rates else "pictures have no"
        raise ValueError(f"{said} frames/s; say how many: --set frames_per_second=10")
    return rates.pop()


def find_recordings(place: Path) -> list[Recording]:
    """Return the episodes at `place`: a video, a folder of pictures, or a folder of such, in the order of their names.

    `run.mp4` has its steps in `run.csv`, `run.jsonl` or `run.npz`; a folder of pictures has them inside.

    Raises:
        ValueError: if there is none, or one has no steps.
    """
    if place.is_file():
        return [Recording(frames=place, steps=_steps_beside(place))]
    if not place.is_dir():
        raise ValueError(f"no recording at {place}")
    if _pictures(place):
        return [Recording(frames=place, steps=_steps_inside(place))]
    children = sorted(place.iterdir(), key=_natural)
    found = [Recording(frames=child, steps=_steps_beside(child)) for child in children if _is_video(child)]
    found += [
        Recording(frames=child, steps=_steps_inside(child)) for child in children if child.is_dir() and _pictures(child)
    ]
    if not found:
        raise ValueError(f"{place} holds neither videos nor folders of pictures")
    return found


def _is_video(file: Path) -> bool:
    return file.is_file() and file.suffix.lower() in VIDEOS


def _pictures(folder: Path) -> list[Path]:
    return sorted((file for file in folder.iterdir() if file.suffix.lower() in PICTURES), key=_natural)


def _natural(file: Path) -> list[tuple[int, str]]:
    """Order names with numbers by the numbers: frame2 before frame10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", file.name)]


def _steps_beside(video: Path) -> Path:
    found = [file for suffix in STEPS if (file := video.with_suffix(suffix)).is_file()]
    return _one(found, video, f"{video.stem}.csv, .jsonl or .npz beside it")


def _steps_inside(folder: Path) -> Path:
    found = [file for file in sorted(folder.iterdir()) if file.suffix in STEPS]
    return _one(found, folder, "one .csv, .jsonl or .npz in it")


def _one(found: list[Path], frames: Path, wanted: str) -> Path:
    if len(found) != 1:
        raise ValueError(f"{frames} needs its actions in {wanted}; found {len(found)} such files")
    return found[0]


def _read_video(file: Path) -> Iterator[np.ndarray]:
    import av

    try:
        with av.open(str(file)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    except (OSError, IndexError, av.FFmpegError) as error:
        raise ValueError(f"cannot read the video {file}: {error}") from error


def _read_pictures(folder: Path) -> Iterator[np.ndarray]:
    from PIL import Image

    for file in _pictures(folder):
        try:
            with Image.open(file) as picture:
                yield to_rgb(np.asarray(picture.convert("RGB")))
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read the picture {file}: {error}") from error
