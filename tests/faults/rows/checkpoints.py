"""Promises of checkpoints: saved whole or not at all, and judged before they are believed."""

from __future__ import annotations

import hashlib
import json
import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tests.faults.promises import Outcome, flipped, is_refused, promise
from tests.worlds import record_toy, save_simulator
from worldmodel.checkpoints.checkpoint import Checkpoint, read, write
from worldmodel.checkpoints.index import read_index, write_index
from worldmodel.rollouts import EpisodeDataset
from worldmodel.rollouts.manifest import EPISODES_FILE

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


@promise(60, is_slow=True)
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


@promise(1000)
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
