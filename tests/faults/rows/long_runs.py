"""Promises of long runs: memory, time and disk do not grow with what is already done."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from tests.faults.promises import SPAWN, Outcome, promise
from tests.worlds import record_toy, save_simulator
from worldmodel.rollouts import EpisodeDataset
from worldmodel.rollouts.manifest import EPISODES_FILE, append_record
from worldmodel.rollouts.storage import write_episode

THOUSAND, EVERY = 1000, 100
MAX_GROWTH_MIB, MAX_SLOWDOWN = 32, 1.1
IMAGINER = f"""
import json, sys, time
from worldmodel.imagination.videos import imagine_videos
from worldmodel.simulator import Simulator

model, data, out, steps = sys.argv[1:]
seen = {{"imagining": [], "drawing": []}}

def report(stage, done, total):
    if done % {EVERY} == 0:
        pages = int(open("/proc/self/statm").read().split()[1])
        seen[stage].append((pages * 4096 / 2**20, time.process_time()))

imagine_videos(Simulator.from_pretrained(model), "forward", source=data, num_steps=int(steps), out=out, report=report)
print(json.dumps(seen))
"""


@promise(10, is_slow=True)
def a_long_video_is_flat(work: Path, times: int, rng: random.Random) -> Outcome:
    """10,000 frames of a video: memory grows by less than 32 MiB, the last thousand are at most 1.1x slower"""
    model, data = save_simulator(work / "m"), record_toy(work / "d", episodes=1)
    words = [model, data, work / "o", times * THOUSAND]
    done = subprocess.run([sys.executable, "-c", IMAGINER, *map(str, words)], check=True, capture_output=True)
    growth, slowdown = 0.0, 0.0
    for seen in json.loads(done.stdout).values():
        memory = [mib for mib, _ in seen]
        # The quickest of ten blocks: what else the machine does makes blocks slower, never quicker.
        blocks = [after - before for (_, before), (_, after) in pairwise(seen)]
        growth = max(growth, max(memory) - memory[0])
        slowdown = max(slowdown, min(blocks[-9:]) / min(blocks[:9]))
    flat = growth < MAX_GROWTH_MIB and slowdown <= MAX_SLOWDOWN
    figure = f"{growth:.1f} MiB more, {slowdown:.2f}x slower"
    return Outcome(tried=times * THOUSAND, survived=times * THOUSAND if flat else 0, figure=figure)


def record_long(path: Path, episodes: int) -> EpisodeDataset:
    """Record a toy episode, and so many short ones after it as fast as they can be written."""
    subprocess.run(_record(path, 1), check=True, capture_output=True)
    whole = EpisodeDataset(path)
    first = whole.episode(0)
    short = replace(
        first,
        frames=first.frames[:32],
        actions=first.actions[:31],
        rewards=first.rewards[:31],
        variables={name: values[:32] for name, values in first.variables.items()},
        final_action=None,
    )
    with _without_fsync():
        for index in range(1, episodes):
            append_record(path, write_episode(path, index, replace(short, seed=first.seed + index), info=whole.info))
    return EpisodeDataset(path)


def _record(path: Path, episodes: int) -> list[str]:
    words = ["collect-rollouts", "--env", "toy", "--policy", "random", "--workers", "1", "--set", "frame_size=16"]
    return [*SPAWN, *words, "--episodes", str(episodes), "--out", str(path)]


@contextmanager
def _without_fsync() -> Iterator[None]:
    sync, os.fsync = os.fsync, lambda descriptor: None
    try:
        yield
    finally:
        os.fsync = sync


def _files(path: Path) -> dict[str, tuple[int, int]]:
    """Return inode and size of each file: what was replaced, and what has grown."""
    return {entry.name: (entry.inode(), entry.stat().st_size) for entry in os.scandir(path)}


@promise(10_000)
def a_ten_hour_recording_goes_on_at_once(work: Path, times: int, rng: random.Random) -> Outcome:
    """a data set of 10,000 episodes is open, and described by `inspect`, within 2 s; one more episode rewrites none"""
    record_long(work / "d", times)
    began = time.process_time()
    dataset = EpisodeDataset(work / "d")
    dataset.frames(times - 1, 0, 2)
    seconds = time.process_time() - began
    described = _seconds_to_first_line([*SPAWN, "inspect", str(work / "d")])
    before = _files(work / "d")
    subprocess.run(_record(work / "d", times + 1), check=True, capture_output=True)
    after = _files(work / "d")
    kept = [name for name in before if after[name][0] == before[name][0]]
    written = sum(size for name, (_, size) in after.items() if name not in kept)
    written += sum(after[name][1] - before[name][1] for name in kept)
    right = seconds < 2 and described < 2 and len(kept) >= len(before) - 1 and written < 100_000
    manifest = (work / "d" / EPISODES_FILE).stat().st_size
    figure = f"open in {seconds:.2f} s, described in {described:.2f} s, {manifest / 2**20:.1f} MiB of manifest, "
    figure += f"one more writes {written / 1000:.0f} kB"
    return Outcome(tried=times, survived=times if right else 0, figure=figure)


def _seconds_to_first_line(command: list[str]) -> float:
    """Return the processor time until a command prints its first line; it is ended then."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        process.stdout.readline()
        fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        process.kill()
    ticks = int(fields[11]) + int(fields[12])  # utime and stime
    return ticks / os.sysconf("SC_CLK_TCK")
