"""The child process that decodes a foreign video: limits first, then raw frames on stdout (see mp4.read_video)."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

MAX_MEMORY = 3 << 30
MAX_CPU_SECONDS = 50
MAX_PIXELS = 8192 * 8192
EPSILON = 1e-6  # seconds: a frame that begins at a moment is the one shown
# Containers that hold their data themselves: playlists, which name other files and addresses, are not among them.
CONTAINERS = "mov,mp4,matroska,webm,avi,gif,mpegts,mpeg,ogg,flv,asf,h264,hevc"
OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file,pipe"}


def limit_resources() -> None:
    """Cap memory and processor time of this process for good, and forbid core dumps."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def decode(path: str, output: BinaryIO, *, frame_size: int, frames_per_second: float, max_frames: int) -> int:
    """Write the frames shown at 0, 1, 2... / `frames_per_second` seconds to `output`, raw RGB; return their number.

    Raises:
        ValueError: if the file has no video stream or its frames are absurdly large.
        av.FFmpegError: if it cannot be opened or decoded.
    """
    count = 0
    for shown, end in _shown(path):
        if count < max_frames and count / frames_per_second < end - EPSILON:
            data = square(shown, frame_size).tobytes()
            while count < max_frames and count / frames_per_second < end - EPSILON:
                output.write(data)
                count += 1
        if count >= max_frames:
            break
    return count


def _shown(path: str) -> Iterator[tuple[np.ndarray, float]]:
    """Yield each frame of a video with the second at which it disappears."""
    import av

    with av.open(path, options=OPTIONS) as container:
        if not container.streams.video:
            raise ValueError("there is no video stream in it")
        stream = container.streams.video[0]
        if stream.width * stream.height > MAX_PIXELS:
            raise ValueError(f"its frames are {stream.width} x {stream.height}, larger than can be handled")
        stream.thread_count = 1
        length = float(1 / (stream.average_rate or 25))
        start = last = None
        for picture in container.decode(stream):
            time = picture.time if picture.time is not None else (last[1] + length if last else 0.0)
            start = time if start is None else start
            if last:
                yield last[0].to_ndarray(format="rgb24"), time - start
            last = picture, time
        if last and start is not None:
            yield last[0].to_ndarray(format="rgb24"), last[1] - start + length


def square(frame: np.ndarray, frame_size: int) -> np.ndarray:
    """Return the centre square of `frame`, resized to `frame_size` pixels a side."""
    from PIL import Image

    height, width = frame.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    crop = Image.fromarray(frame[top : top + side, left : left + side])
    return np.asarray(crop.resize((frame_size, frame_size), Image.Resampling.BOX if side > frame_size else None))


def main(words: list[str]) -> int:
    """Decode `PATH FRAME_SIZE FRAMES_PER_SECOND MAX_FRAMES` to stdout; on failure one line on stderr and code 1."""
    limit_resources()
    path, frame_size, frames_per_second, max_frames = words
    try:
        decode(
            path,
            sys.stdout.buffer,
            frame_size=int(frame_size),
            frames_per_second=float(frames_per_second),
            max_frames=int(max_frames),
        )
        sys.stdout.buffer.flush()
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        print(f"{getattr(error, 'strerror', None) or error or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
