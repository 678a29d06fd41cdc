"""The promises: each is a function that tries something bad so many times and counts how often nothing was lost.

A new row is a function with the decorator `promise`; its docstring is what is promised.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
import torch

from tests.training.test_loop import CONFIG, Line
from tests.worlds import record_toy, save_simulator
from worldmodel.checkpoints.checkpoint import Checkpoint, read, write
from worldmodel.checkpoints.index import read_index, write_index
from worldmodel.commands import main
from worldmodel.rollouts import EpisodeDataset
from worldmodel.rollouts.manifest import EPISODES_FILE, append_record, write_info
from worldmodel.training.loop import DivergedError, train

SPAWN = [sys.executable, "-P", "-m", "worldmodel"]
TINY = "--steps 12 --processes 1 --set hidden_dim=16 --set residual_dim=8 --set codebook_size=16 --set batch=1"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How often something was tried, how often nothing was lost, and what else was measured."""

    tried: int
    survived: int
    figure: str = ""


@dataclass(frozen=True, kw_only=True)
class Promise:
    """A row of the table: what is promised, how to try it, how often in full, and whether that takes long."""

    text: str
    attempt: Callable[[Path, int, random.Random], Outcome]
    times: int
    is_slow: bool


PROMISES: dict[str, Promise] = {}


def promise(times: int, *, is_slow: bool = False) -> Callable[..., Callable[[Path, int, random.Random], Outcome]]:
    """Add the function to the table, to be tried `times` times in full."""

    def add(attempt: Callable[[Path, int, random.Random], Outcome]) -> Callable[[Path, int, random.Random], Outcome]:
        text = str(attempt.__doc__)
        PROMISES[attempt.__name__] = Promise(text=text, attempt=attempt, times=times, is_slow=is_slow)
        return attempt

    return add


def is_refused(call: Callable[[], object]) -> bool:
    """Whether a call ends in an error of one line."""
    try:
        call()
    except ValueError as error:
        return "\n" not in str(error)
    return False


def flipped(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def dataset_hash(path: Path) -> str:
    return EpisodeDataset(path).fingerprint


@promise(20, is_slow=True)
def finished_episodes_survive_kills(work: Path, times: int, rng: random.Random) -> Outcome:
    """a finished episode survives `kill -9` of the recorder, and the data set becomes that of an undisturbed run"""
    words = ["collect-rollouts", "--env", "toy", "--episodes", "400", "--workers", "2", "--set", "frame_size=64"]
    subprocess.run([*SPAWN, *words, "--out", str(work / "whole")], check=True, capture_output=True)
    lost, known = 0, 0
    for _ in range(times):
        with subprocess.Popen(
            [*SPAWN, *words, "--out", str(work / "killed")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(rng.uniform(0.2, 3.0))
            process.kill()
        if not (work / "killed" / "dataset.json").exists():
            continue
        dataset = EpisodeDataset(work / "killed")
        damaged = [index for index in range(len(dataset)) if dataset.verify(index)]
        lost += bool(damaged) or len(dataset) < known
        known = len(dataset)
    subprocess.run([*SPAWN, *words, "--out", str(work / "killed")], check=True, capture_output=True)
    same = dataset_hash(work / "whole") == dataset_hash(work / "killed")
    return Outcome(tried=times, survived=times - lost if same else 0, figure=f"{known} episodes after the last kill")


@promise(3, is_slow=True)
def any_number_of_workers(work: Path, times: int, rng: random.Random) -> Outcome:
    """1, 2 and 4 workers record the same data"""
    for workers in (1, 2, 4):
        words = ["collect-rollouts", "--env", "toy", "--episodes", "12", "--workers", str(workers)]
        subprocess.run([*SPAWN, *words, "--out", str(work / str(workers))], check=True, capture_output=True)
    hashes = [dataset_hash(work / str(workers)) for workers in (1, 2, 4)]
    return Outcome(tried=3, survived=hashes.count(hashes[0]))


SAVER = """
import sys, torch
from worldmodel.checkpoints.checkpoint import Checkpoint, write
number = 0
while True:
    number += 1
    tensors = {"a": torch.full((300_000,), float(number)), "b": torch.full((300_000,), float(number))}
    write(sys.argv[1], Checkpoint(kind="tokenizer", config={"number": number}, metrics={}, tensors=tensors))
    print(number, flush=True)
"""


@promise(20, is_slow=True)
def saves_survive_kills(work: Path, times: int, rng: random.Random) -> Outcome:
    """a save that is killed leaves the checkpoint that was there, or the new one, and never a mixture"""
    survived = 0
    for number in range(times):
        out = work / str(number)
        with subprocess.Popen([sys.executable, "-c", SAVER, str(out)], stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            time.sleep(rng.uniform(0.0, 0.3))
            process.kill()
        found = read(out, kind="tokenizer")
        wanted = float(found.config["number"])
        survived += all(bool((tensor == wanted).all()) for tensor in found.tensors.values())
    return Outcome(tried=times, survived=survived)


@promise(50)
def saves_survive_a_full_disk(work: Path, times: int, rng: random.Random) -> Outcome:
    """a save on a disk that is full at any byte leaves the checkpoint that was there"""
    numbers = {f"t{i}": torch.arange(2000.0) + i for i in range(3)}
    old = Checkpoint(kind="tokenizer", config={"x": 1}, metrics={}, tensors=numbers)
    survived = 0
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for _ in range(times):
        write(work / "c", old)
        new = replace(old, config={"x": 2}, tensors={name: tensor + 1 for name, tensor in numbers.items()})
        resource.setrlimit(resource.RLIMIT_FSIZE, (rng.randrange(24_000), limit[1]))
        try:
            write(work / "c", new)
        except OSError:
            pass
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        found = read(work / "c", kind="tokenizer")
        survived += all(torch.equal(found.tensors[name], numbers[name]) for name in numbers)
    signal.signal(signal.SIGXFSZ, previous)
    return Outcome(tried=times, survived=survived)


@promise(2000)
def flips_of_a_checkpoint_are_found(work: Path, times: int, rng: random.Random) -> Outcome:
    """a flipped bit of a checkpoint's weights or settings is refused, or changes nothing"""
    tensors = {"a": torch.arange(1000.0)}
    write(work, Checkpoint(kind="tokenizer", config={"rate": 8.75}, metrics={"psnr": 33.0}, tensors=tensors))
    written = read(work, kind="tokenizer")
    files = [work / "config.json", next(work.glob("*.safetensors"))]
    survived, slowest = 0, 0.0
    for number in range(times):
        file = files[number % 2]
        content = file.read_bytes()
        file.write_bytes(flipped(content, rng))
        began = time.monotonic()
        try:
            found = read(work, kind="tokenizer")
            survived += found.config == written.config and torch.equal(found.tensors["a"], tensors["a"])
        except ValueError as error:
            survived += "\n" not in str(error)
        slowest = max(slowest, time.monotonic() - began)
        file.write_bytes(content)
    return Outcome(tried=times, survived=survived, figure=f"at most {1000 * slowest:.0f} ms")


@promise(2000)
def flips_of_a_data_set_are_found(work: Path, times: int, rng: random.Random) -> Outcome:
    """a flipped bit of an episode or of the manifest is found, or changes nothing"""
    record_toy(work / "d", episodes=2)
    whole = EpisodeDataset(work / "d")
    files = [work / "d" / name for name in (EPISODES_FILE, "dataset.json", whole.records[0].file)]
    survived = 0
    for number in range(times):
        file = files[number % 3]
        content = file.read_bytes()
        file.write_bytes(flipped(content, rng))
        try:
            found = EpisodeDataset(work / "d")
            survived += bool(found.verify(0)) or found.fingerprint == whole.fingerprint
        except (ValueError, FileNotFoundError) as error:
            survived += "\n" not in str(error)
        file.write_bytes(content)
    return Outcome(tried=times, survived=survived)


@promise(192)
def truncations_are_found(work: Path, times: int, rng: random.Random) -> Outcome:
    """a checkpoint, an episode or a manifest that is cut short is refused"""
    write(work / "c", Checkpoint(kind="tokenizer", config={}, metrics={}, tensors={"a": torch.arange(1000.0)}))
    record_toy(work / "d", episodes=2)
    shard, manifest = next((work / "c").glob("*.safetensors")), work / "d" / EPISODES_FILE
    episode = work / "d" / EpisodeDataset(work / "d").records[0].file
    calls = {
        shard: lambda: read(work / "c", kind="tokenizer"),
        manifest: lambda: EpisodeDataset(work / "d"),
        episode: lambda: EpisodeDataset(work / "d").episode(0),
    }
    survived = 0
    for number in range(times):
        file, call = list(calls.items())[number % 3]
        content = file.read_bytes()
        file.write_bytes(content[: rng.randrange(len(content))])
        survived += is_refused(call)
        file.write_bytes(content)
    return Outcome(tried=times, survived=survived)


@promise(1)
def a_hostile_header_is_refused(work: Path, times: int, rng: random.Random) -> Outcome:
    """a signed shard that declares 500,000 tensors is refused within two seconds"""
    write(work, Checkpoint(kind="tokenizer", config={}, metrics={}, tensors={"a": torch.zeros(1)}))
    about = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = json.dumps({f"t{i}": about for i in range(500_000)}).encode()
    data = len(header).to_bytes(8, "little") + header + bytes(4)
    digest = hashlib.sha256(data).hexdigest()
    name = f"model-00001-of-00001-{digest[:12]}.safetensors"
    (work / name).write_bytes(data)
    write_index(work, read_index(work) | {"files": {name: digest}})
    began = time.process_time()
    refused = is_refused(lambda: read(work, kind="tokenizer"))
    seconds = time.process_time() - began
    return Outcome(tried=1, survived=int(refused and seconds < 2), figure=f"{seconds:.2f} s")


@promise(5, is_slow=True)
def a_stopped_run_resumes(work: Path, times: int, rng: random.Random) -> Outcome:
    """a training stopped by SIGTERM or SIGINT saves within 15 s, exits 143 or 130, and resumes to the same weights"""
    record_toy(work / "d", episodes=4)
    words = [*SPAWN, "train-tokenizer", "--data", str(work / "d"), *TINY.split(), "--set", "log_every_steps=1"]
    subprocess.run([*words, "--out", str(work / "whole")], check=True, capture_output=True)
    saved, slowest = 0, 0.0
    for number in range(times):
        stop = signal.SIGTERM if number % 2 else signal.SIGINT
        log = work / "parts" / "log.jsonl"
        with subprocess.Popen(
            [*words, "--out", str(work / "parts"), "--resume"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process:
            before = log.stat().st_size if log.exists() else 0
            while process.poll() is None and not (log.exists() and log.stat().st_size > before):
                time.sleep(0.005)
            began = time.monotonic()
            process.send_signal(stop)
            code = process.wait()
        slowest = max(slowest, time.monotonic() - began)
        saved += code in {0, 128 + stop} and slowest < 15
    subprocess.run([*words, "--out", str(work / "parts"), "--resume"], check=True, capture_output=True)
    whole, parts = (read(work / name, kind="tokenizer").tensors for name in ("whole", "parts"))
    same = all(torch.equal(whole[name], parts[name]) for name in whole)
    return Outcome(tried=times, survived=saved if same else 0, figure=f"saved within {slowest:.1f} s, bitwise equal")


@promise(24)
def broken_weights_reach_no_checkpoint(work: Path, times: int, rng: random.Random) -> Outcome:
    """NaN in a loss or in the weights, at any step, stops the run, and the state on the disk stays finite"""
    survived = 0
    for number in range(times):
        step, out = number % 12, work / str(number)
        stage = Line(fail_at=step) if number < 12 else Line(break_at=step)
        try:
            train(stage, replace(CONFIG, save_every_minutes=0.0), out)
            continue
        except DivergedError:
            pass
        state = read(out / "training", kind="training").tensors if (out / "training").exists() else {}
        survived += all(bool(tensor.isfinite().all()) for tensor in state.values())
    return Outcome(tried=times, survived=survived)


WORDS = ["--out", "o", "--steps", "-1", "nan", "1e9", "--data", "nowhere"]
WORDS += ["--set", "x=y", "clip=0", "--resume", "--", "\x1b["]
COMMANDS = ["train-tokenizer", "train-dynamics", "imagine", "inspect", "preview", "compare", "trian-tokenizer"]


@promise(1000)
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


@promise(10, is_slow=True)
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


@promise(1)
def many_episodes_open_quickly(work: Path, times: int, rng: random.Random) -> Outcome:
    """a manifest of 10,000 episodes is read and judged within two seconds"""
    small = EpisodeDataset(record_toy(work / "d", episodes=1))
    (work / "many").mkdir()
    write_info(work / "many", small.info)
    first = small.records[0]
    os.fsync, sync = (lambda descriptor: None), os.fsync
    for index in range(10_000):
        append_record(work / "many", replace(first, index=index, file=f"episode-{index:06d}.parquet"))
    os.fsync = sync
    began = time.process_time()
    found = len(EpisodeDataset(work / "many"))
    seconds = time.process_time() - began
    return Outcome(tried=1, survived=int(found == 10_000 and seconds < 2), figure=f"{seconds:.2f} s")


@promise(300)
def mutated_checkpoints_get_one_error(work: Path, times: int, rng: random.Random) -> Outcome:
    """a signed checkpoint whose settings are of other types or sizes is refused in one line"""
    from worldmodel.tokenizer.model import Tokenizer

    path = save_simulator(work / "m") / "tokenizer"
    index, survived = read_index(path), 0
    values = [None, True, -1, 0, 10**30, 1e308, float("nan"), "x", [], {}, [1] * 3]
    for _ in range(times):
        name = rng.choice(list(index["config"]))
        changed = index["config"] | {name: rng.choice(values)}
        write_index(path, index | {"config": changed})
        try:
            Tokenizer.from_pretrained(path)
            survived += np.isscalar(changed[name])  # a loss weight of 0, say: no size depends on it
        except ValueError as error:
            survived += "\n" not in str(error)
    write_index(path, index)
    return Outcome(tried=times, survived=survived)
