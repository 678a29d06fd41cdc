"""Videos as MP4 files: a killed run's video still plays, and a damaged video cannot crash the reader."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

# H.264 without B-frames or lookahead: each frame is in the file as soon as it is written. One thread: the same frames
# give the same bytes on every machine. "faster" takes half the time of "medium" for the same size, and 0.2 dB at most.
ENCODER = {"crf": "15", "preset": "faster", "tune": "zerolatency", "threads": "1"}
# Fragments make an unfinished file playable, `bitexact` keeps versions and dates out of it.
UNFINISHED = {"movflags": "hybrid_fragmented+frag_every_frame", "flush_packets": "1", "fflags": "+bitexact"}
FINISHED = {"movflags": "+faststart", "fflags": "+bitexact"}
BT709 = 1  # the code of ITU-T H.273 for primaries, transfer and matrix: what browsers assume

MAX_SECONDS_READING = 60.0
DECODER = str(Path(__file__).with_name("decoding.py"))
SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif"})


class VideoWriter:
    """Write frames, one at a time, to an MP4 that plays in browsers (H.264, yuv420p).

    Until `close` the video is beside `path` as NAME.partial.mp4, in fragments of one frame each, and plays at any
    moment; `close` gives it its name. After an error the partial file stays if there is something in it to be played.

    >>> with VideoWriter("video.mp4", frames_per_second=8.75) as video:
    ...     video.write(frame)  # uint8 (H, W, 3); an odd side is extended by one pixel
    """

    def __init__(self, path: str | os.PathLike[str], *, frames_per_second: float) -> None:
        import av

        self.path = Path(path)
        self.partial = self.path.with_suffix(".partial.mp4")
        self.rate = Fraction(frames_per_second).limit_denominator(1000)
        self._size: tuple[int, int] | None = None
        self._file = _Sealable(self.partial)
        self._container = av.open(self._file, "w", format="mp4", options=UNFINISHED)

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, uint8 (H, W, 3).

        Raises:
            ValueError: if it is no such frame, or of another size than the first.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"a frame is uint8 (H, W, 3), got {frame.dtype} {frame.shape}")
        height, width = frame.shape[:2]
        if self._size is None:
            self._size = (height, width)
            self._open_stream(height + height % 2, width + width % 2)
        if self._size != (height, width):
            raise ValueError(f"the frames of a video have one size, got {(height, width)} after {self._size}")
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        self._encode(frame)

    def _open_stream(self, height: int, width: int) -> None:
        self._stream = self._container.add_stream("libx264", rate=self.rate, options=ENCODER)
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.gop_size = max(1, round(self.rate))
        context.color_range = 1  # limited
        context.color_primaries = context.color_trc = context.colorspace = BT709

    def _encode(self, frame: np.ndarray | None) -> None:
        import av

        picture = None
        if frame is not None:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        self._container.mux(self._stream.encode(picture))
        self._file.check()

    def close(self) -> None:
        """Finish the video and give it its name."""
        if self._size is None:
            raise ValueError(f"{self.path} has no frames: a video needs at least one")
        self._encode(None)
        self._container.close()
        self._file.close()
        self._file.check()
        _remux(self.partial, self.path)
        self.partial.unlink()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if kind is None:
                self.close()
                return
        finally:
            self._abandon()

    def _abandon(self) -> None:
        """End the partial file, if there is still one, and remove it if nothing in it plays."""
        with contextlib.suppress(OSError):
            self._container.close()
        self._file.close()
        if self._file.error is not None and self.partial.exists():
            _trim(self.partial)
        if not _plays(self.partial):
            self.partial.unlink(missing_ok=True)

    def __repr__(self) -> str:
        return f"VideoWriter({str(self.path)!r}, {float(self.rate):g} frames/s)"


class _Sealable:
    """A file that stays as it is once something could not be written, and keeps the error.

    The disk is full, say: the fragments written so far play, and half of a video's end would spoil them. FFmpeg would
    hide an error that was raised while it writes.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            rest = memoryview(data if self.error is None else b"")
            while rest:  # a full disk takes a part first, and says why with the next
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self.error = error
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def check(self) -> None:
        """Raise what could not be written for."""
        if self.error is not None:
            raise OSError(self.error.errno, self.error.strerror, self._file.name) from self.error

    def close(self) -> None:
        self._file.close()


def _trim(path: Path) -> None:
    """Cut off the end of an MP4 behind its last whole fragment: a decoder takes half a frame for damage."""
    content = path.read_bytes()
    start, end = 0, 0
    while start + 8 <= len(content):  # a box: its length, its kind, what it holds
        length = max(8, int.from_bytes(content[start : start + 4], "big"))
        if content[start + 4 : start + 8] == b"mdat" and start + length <= len(content):
            end = start + length
        start += length
    os.truncate(path, end)


def _plays(path: Path) -> bool:
    """Whether there is a frame in a video."""
    import av

    try:
        with av.open(str(path)) as container:
            return next(container.decode(video=0), None) is not None
    except (av.FFmpegError, OSError, IndexError):
        return False


def _remux(source: Path, target: Path) -> None:
    """Copy the packets of `source` into a file with its index in front, so that players need not read to the end."""
    import av

    with (
        replacing(target) as temporary,
        av.open(str(source)) as finished,
        av.open(str(temporary), "w", format="mp4", options=FINISHED) as written,
    ):
        stream = written.add_stream_from_template(finished.streams.video[0])
        for packet in finished.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                written.mux(packet)


def write_video(path: str | os.PathLike[str], frames: Iterable[np.ndarray], *, frames_per_second: float) -> Path:
    """Write `frames`, each uint8 (H, W, 3), to the MP4 `path` and return it."""
    with VideoWriter(path, frames_per_second=frames_per_second) as video:
        for frame in frames:
            video.write(frame)
    return video.path


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target` that takes its name when the block succeeds and vanishes when it fails."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def read_video(
    path: str | os.PathLike[str], *, frame_size: int, frames_per_second: float, max_frames: int = 600
) -> np.ndarray:
    """Return the first frames of any video as a model sees them: uint8 (t, frame_size, frame_size, 3).

    The centre square of each frame, resized; of the video's frames those shown at 0, 1, 2... / `frames_per_second`
    seconds, at most `max_frames`. A child process with little memory, time and no network does the decoding.

    Raises:
        ValueError: if there is no video in the file or decoding it fails.
    """
    if not Path(path).is_file():
        raise ValueError(f"no video file at {path}")
    numbers = [str(frame_size), repr(float(frames_per_second)), str(max_frames)]
    # -P: the script's own folder holds a types.py, which must not hide the standard library's.
    child = [sys.executable, "-P", DECODER, os.fspath(path), *numbers]
    with tempfile.TemporaryFile() as output:
        failure = _run_child(child, output)
        size = output.seek(0, os.SEEK_END)
        output.seek(0)
        frames = np.frombuffer(output.read(), np.uint8)
    frame_bytes = frame_size * frame_size * 3
    if failure or not size or size % frame_bytes:
        raise ValueError(f"cannot read the video {path}: {failure or 'it holds no frames'}")
    return frames.reshape(-1, frame_size, frame_size, 3)


def _run_child(command: list[str], output: Any) -> str:
    """Run `command` with stdout in `output`; return why it failed in one line, or nothing."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, timeout=MAX_SECONDS_READING
        )
    except subprocess.TimeoutExpired:
        return f"decoding took more than {MAX_SECONDS_READING:g} s"
    if done.returncode < 0:
        return f"the decoder died of signal {-done.returncode}"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return (lines[-1] if lines else f"the decoder left with code {done.returncode}") if done.returncode else ""
