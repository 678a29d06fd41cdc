"""Videos: what is written is what plays, whatever happens while it is written or read."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from io import FileIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from worldmodel.video.mp4 import read_video, write_video


def video(count: int = 16, height: int = 64, width: int = 96) -> list[np.ndarray]:
    """A moving picture of large coloured blocks."""
    blocks = np.random.default_rng(0).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    return [np.roll(blocks, i, axis=1).repeat(16, 0).repeat(16, 1) for i in range(count)]


def test_reopened_video_is_the_one_written(tmp_path: Path) -> None:
    """Frames, their number, size and rate come back; H.264 yuv420p, as browsers want it."""
    frames = video()
    write_video(tmp_path / "a.mp4", frames, frames_per_second=8.75)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.frames, stream.width, stream.height) == (16, 96, 64)
        assert stream.average_rate == Fraction(35, 4)
        assert stream.duration * stream.time_base == Fraction(16 * 4, 35)
        shown = [f.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray() for f in container.decode(stream)]
    assert np.abs(np.stack(shown).astype(int) - np.stack(frames)).mean() < 4


def test_index_comes_first(tmp_path: Path) -> None:
    """Players start without reading to the end: moov stands before mdat, and no fragment is left."""
    content = write_video(tmp_path / "a.mp4", video(), frames_per_second=8).read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")
    assert b"moof" not in content


def test_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    """No date and no version stands in the file."""
    a, b = (write_video(tmp_path / name, video(), frames_per_second=8).read_bytes() for name in ("a.mp4", "b.mp4"))
    assert a == b
    assert b"Lavf" not in a


def test_odd_sizes_are_extended(tmp_path: Path) -> None:
    """yuv420p has even sides: an odd one grows by one pixel instead of being refused or scaled."""
    frames = [np.full((33, 47, 3), 90, np.uint8)] * 3
    with av.open(str(write_video(tmp_path / "a.mp4", frames, frames_per_second=8))) as container:
        stream = container.streams.video[0]
        assert (stream.height, stream.width) == (34, 48)


@pytest.mark.parametrize(
    "frames",
    [
        [np.zeros((16, 16, 3), np.float32)],
        [np.zeros((16, 16), np.uint8)],
        [np.zeros((16, 16, 3), np.uint8), np.zeros((16, 32, 3), np.uint8)],
        [],
    ],
)
def test_refuses_what_is_no_video(tmp_path: Path, frames: list[np.ndarray]) -> None:
    """Wrong types and changing sizes are errors, and leave nothing under the final name."""
    with pytest.raises(ValueError, match="frame"):
        write_video(tmp_path / "a.mp4", frames, frames_per_second=8)
    assert not (tmp_path / "a.mp4").exists()


def test_unfinished_video_has_another_name(tmp_path: Path) -> None:
    """The final name stands for a complete video: until then, and after an error, only the partial file is there."""

    def stop_after_16_frames() -> Iterator[np.ndarray]:
        yield from video()
        assert not (tmp_path / "a.mp4").exists()
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_video(tmp_path / "a.mp4", stop_after_16_frames(), frames_per_second=8)
    assert os.listdir(tmp_path) == ["a.partial.mp4"]
    with av.open(str(tmp_path / "a.partial.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 16


KILLED = """
import signal, sys, time
import numpy as np
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's children ignore it
from worldmodel.video.mp4 import VideoWriter
frames = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
with VideoWriter(sys.argv[1], frames_per_second=8) as video:
    for i in range(100000):
        video.write(frames[i % 8])
        if i % 8 == 0:
            print(i + 1, flush=True)
            time.sleep(0.02)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_video_plays(tmp_path: Path, number: int) -> None:
    """However a run is killed, its video opens and lacks at most the last second."""
    path = tmp_path / "a.mp4"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        written = 0
        while written < 60:
            written = int(process.stdout.readline())
        process.send_signal(number)
        process.wait(timeout=20)
    assert not path.exists()
    with av.open(str(tmp_path / "a.partial.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) >= written - 8


@pytest.mark.parametrize("room", [0, 500, 3000, 20_000])
def test_a_full_disk_leaves_what_plays(room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the disk is full, the error is said, and a partial file is left only if it plays."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 96, 3), dtype=np.uint8)
    write = FileIO.write

    class Full(FileIO):
        def write(self, data: Any) -> int:
            if self.tell() >= room:
                raise OSError(28, "No space left on device")
            return write(self, bytes(data)[: room - self.tell()])

    monkeypatch.setattr("worldmodel.video.mp4.open", lambda path, *_, **__: Full(path, "wb"), raising=False)
    with pytest.raises(OSError, match="No space left"):
        write_video(tmp_path / "a.mp4", noise, frames_per_second=4)
    for file in tmp_path.iterdir():
        with av.open(str(file)) as container:
            assert sum(1 for _ in container.decode(video=0)) >= 1
    assert [file.name for file in tmp_path.iterdir()] == ["a.partial.mp4"] * (room == 20_000)


def test_foreign_video_is_seen_as_the_model_sees(tmp_path: Path) -> None:
    """The centre square, resized, at the model's rate: half of it takes every other frame, twice shows each twice."""
    frames = [np.full((64, 128, 3), 40 + 12 * i, np.uint8) for i in range(8)]
    for frame in frames:
        frame[:, :32] = frame[:, 96:] = 255  # beside the centre square
    path = write_video(tmp_path / "a.mp4", frames, frames_per_second=8)
    for rate, expected in ((8, range(8)), (4, range(0, 8, 2)), (16, [i // 2 for i in range(16)])):
        seen = read_video(path, frame_size=32, frames_per_second=rate)
        assert seen.shape == (len(expected), 32, 32, 3)
        levels = seen[:, 4:28, 4:28].mean(axis=(1, 2, 3))
        np.testing.assert_allclose(levels, [40 + 12 * i for i in expected], atol=3)
    assert len(read_video(path, frame_size=32, frames_per_second=8, max_frames=3)) == 3


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "text", "playlist", "directory", "missing"])
def test_bad_video_cannot_crash_us(tmp_path: Path, damage: str) -> None:
    """A file that is no video gives one line, at once; a playlist does not lead to other files or addresses."""
    content = write_video(tmp_path / "good.mp4", video(), frames_per_second=8).read_bytes()
    path = tmp_path / "bad.mp4"
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{tmp_path}/good.mp4\n#EXT-X-ENDLIST\n".encode()
    noise = np.random.default_rng(0).bytes(5000)
    contents = {"cut": content[:400], "noise": noise, "empty": b"", "text": b"hello\n" * 99, "playlist": playlist}
    if damage in contents:
        path.write_bytes(contents[damage])
    if damage == "directory":
        path.mkdir()
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"bad\.mp4") as raised:
        read_video(path, frame_size=32, frames_per_second=8)
    assert "\n" not in str(raised.value)
    assert time.monotonic() - began < 20


@pytest.mark.slow
def test_flipped_bytes_are_decoded_or_refused(tmp_path: Path) -> None:
    """A damaged video gives frames of the right shape or ValueError, and nothing else."""
    content = bytearray(write_video(tmp_path / "good.mp4", video(), frames_per_second=8).read_bytes())
    rng = np.random.default_rng(1)
    path = tmp_path / "bad.mp4"
    for _ in range(20):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 20):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(ValueError):
            assert read_video(path, frame_size=32, frames_per_second=8).shape[1:] == (32, 32, 3)
