"""Recordings of a played game: what was seen as an MP4, what really happened as an episode to train on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..rollouts import DatasetInfo, EpisodeDataset
from ..rollouts.config import SPLITS
from ..rollouts.lock import locked
from ..rollouts.manifest import INFO_FILE, append_record, read_info, write_info
from ..rollouts.storage import write_episode
from ..video.figure import DARK, KINDS, font, stretch
from ..video.mp4 import VideoWriter
from .real import RealGame
from .session import Shown

SIDE = 512  # pixels of a picture in the video, about
MARGIN, HEADER, TEXT = 16, 44, 24
POLICY = "play"


class VideoRecording:
    """A video of what is seen, the keys above it. It is drawn and encoded beside the game, one frame at a time.

    Args:
        path: of the MP4; while it is being written it plays under NAME.partial.mp4.
        views: which pictures stand beside each other; one that is missing in a frame stays as it was.
        aspect: of the game's picture, width over height.
    """

    def __init__(self, path: Path, *, views: Sequence[str], frames_per_second: float, aspect: float = 1.0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.num_frames = 0
        self._views = tuple(views)
        self._aspect = aspect
        self._latest: dict[str, np.ndarray] = {}
        self._writer = VideoWriter(path, frames_per_second=frames_per_second)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recording")
        self._pending: Future[None] | None = None

    def add(self, shown: Shown) -> None:
        """Append a frame.

        Raises:
            OSError: if the one before it could not be written.
        """
        self._wait()
        self._latest |= {view: image for view, image in shown.images.items() if view in self._views}
        if len(self._latest) == len(self._views):
            self.num_frames += 1
            views = [(view, self._latest[view]) for view in self._views]
            self._pending = self._thread.submit(
                lambda: self._writer.write(draw(views, shown.action, aspect=self._aspect))
            )

    def close(self) -> Path | None:
        """Finish the video and return its path, None if it has no frame."""
        try:
            self._wait()
            if not self.num_frames:
                self._writer.__exit__(ValueError, None, None)
                self._writer.partial.unlink(missing_ok=True)
                return None
            self._writer.close()
            return self.path
        finally:
            self._thread.shutdown()

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()


def draw(
    views: Sequence[tuple[str, np.ndarray]], action: str | None, *, aspect: float = 1.0, side: int = SIDE
) -> np.ndarray:
    """Return the pictures of `views` (view, uint8 (H, W, 3)) side by side, each under its name: uint8 (H, W, 3).

    A frame is enlarged by whole pixels to at most `side`, and shown at the game's `aspect`, width over height.
    """
    scale = max(1, side // views[0][1].shape[0])
    pictures = [(view, stretch(frame, aspect, scale=scale)) for view, frame in views]
    width, height = pictures[0][1].size
    step = width + MARGIN
    size = (MARGIN + step * len(views), HEADER + height + MARGIN)
    canvas = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2), DARK.background)
    pen = ImageDraw.Draw(canvas)
    for column, (view, picture) in enumerate(pictures):
        x = MARGIN + column * step
        pen.text((x, HEADER - 12), view, font=font(TEXT), fill=KINDS[view], anchor="ls")
        canvas.paste(picture, (x, HEADER))
    if action:
        pen.text((size[0] - MARGIN, HEADER - 12), action, font=font(TEXT), fill=DARK.text, anchor="rs")
    return np.asarray(canvas)


def next_video(folder: Path) -> Path:
    """Return the path of the next video in `folder`: play-0001.mp4 and so on."""
    numbers = [int(match[1]) for file in folder.glob("play-*.mp4") if (match := re.match(r"play-(\d+)\.", file.name))]
    return folder / f"play-{max(numbers, default=0) + 1:04d}.mp4"


def save_episode(folder: Path, real: RealGame, actions: Sequence[int]) -> Path:
    """Append the real episode that `actions` led to, from its reset on, to a data set below `folder`; return its path.

    Episodes of test seeds and of training seeds go into data sets of their own: `GAME-test`, `GAME-train`.

    Raises:
        OSError, ValueError: if it cannot be written, another process writes there, or the game cannot be replayed.
    """
    game, episode = real.episode(actions)
    split = "test" if episode.seed >= SPLITS["test"] else "train"
    info = DatasetInfo(
        settings=dict(game.settings),
        frames_per_second=game.frames_per_second,
        variables=tuple(episode.variables),
        policy=POLICY,
        split=split,
        seed=0,
    )
    path = _dataset(folder, info)
    with locked(path):
        append_record(path, write_episode(path, len(EpisodeDataset(path)), episode, info=info))
    return path


def _dataset(folder: Path, info: DatasetInfo) -> Path:
    """Return the data set of `info` below `folder`; one of other settings keeps its place."""
    stem = re.sub(r"[^\w.-]", "_", f"{info.env}-{info.split}")
    number = 1
    while True:
        path = folder / (stem if number == 1 else f"{stem}-{number}")
        if not (path / INFO_FILE).exists():
            path.mkdir(parents=True, exist_ok=True)
            write_info(path, info)
            return path
        if read_info(path).sha256 == info.sha256:
            return path
        number += 1
