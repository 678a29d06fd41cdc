"""Promises of command lines, and of the videos that are written."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import av

from tests.faults.promises import Outcome, promise
from worldmodel.commands import main

WORDS = ["--out", "o", "--steps", "-1", "nan", "1e9", "--data", "nowhere"]
WORDS += ["--set", "x=y", "clip=0", "--resume", "--", "\x1b["]
COMMANDS = ["train-tokenizer", "train-dynamics", "imagine", "inspect", "preview", "compare", "trian-tokenizer"]


@promise(10_000)
def bad_command_lines_get_one_error(work: Path, times: int, rng: random.Random) -> Outcome:
    """a command line of random words ends with exit code 0, 1 or 2, and never with a traceback"""
    survived = 0
    for _ in range(times):
        words = [rng.choice(COMMANDS), *rng.choices(WORDS, k=rng.randrange(6)), "--data", str(work / "none")]
        try:
            code = main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
        survived += code in {0, 1, 2}
    return Outcome(tried=times, survived=survived)


FILMER = """
import sys, numpy as np
from worldmodel.video.mp4 import VideoWriter
rng = np.random.default_rng(0)
with VideoWriter(sys.argv[1], frames_per_second=8) as video:
    while True:
        video.write(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        print(flush=True)
"""


@promise(50, is_slow=True)
def killed_videos_play(work: Path, times: int, rng: random.Random) -> Outcome:
    """a video whose writer is killed opens, and lacks at most the frame that was being written"""
    survived = 0
    for number in range(times):
        path, frames = work / f"{number}.mp4", 0
        with subprocess.Popen([sys.executable, "-c", FILMER, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout
            for _ in range(rng.randrange(4, 40)):
                frames += bool(process.stdout.readline())
            process.kill()
        with av.open(str(path.with_suffix(".partial.mp4"))) as container:
            shown = 0
            try:
                for _ in container.decode(video=0):
                    shown += 1
            except av.FFmpegError:
                pass
        survived += shown >= frames - 1
    return Outcome(tried=times, survived=survived)
