"""Promises of training."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import torch

from tests.faults.promises import SPAWN, Outcome, promise
from tests.training.test_loop import CONFIG, Line
from tests.worlds import record_toy, save_simulator
from worldmodel.checkpoints.checkpoint import read
from worldmodel.training.launch import free_port
from worldmodel.training.loop import DivergedError, train

WAIT_SECONDS = 300.0
TINY = "--steps 12 --processes 1 --set hidden_dim=16 --set residual_dim=8 --set codebook_size=16 --set batch=1"


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


SMALL = (
    "--steps 8 --minutes 60 --set context_dim=32 --set context_layers=1 --set decoder_dim=32 --set decoder_layers=1 "
)
SMALL += "--set head_dim=16 --set chain_dim=16 --set flow_hidden_dim=16 --set flow_dim=4 --set window=4 --set clip=6 "
SMALL += "--set batch=1 --set save_every_minutes=0"
NODE = "-m torch.distributed.run --nnodes=2 --nproc-per-node=1 --rdzv-backend=c10d --rdzv-id=run --local-addr=127.0.0.1"


@promise(4, briefly=1, is_slow=True)
def a_killed_node_is_started_again(work: Path, times: int, rng: random.Random) -> Outcome:
    """a node of a training under `torchrun` is killed; started again, the run ends with an undisturbed run's weights"""
    data, model = record_toy(work / "d", episodes=4), save_simulator(work / "m")
    words = ["train-dynamics", "--data", str(data), "--tokenizer", str(model / "tokenizer"), *SMALL.split()]
    subprocess.run([*SPAWN, *words, "--processes", "2", "--out", str(work / "whole")], check=True, capture_output=True)
    whole, survived, steps = read(work / "whole", kind="dynamics"), 0, []
    for number in range(times):
        out = work / f"parts{number}"
        command = [*words, "--out", str(out), "--resume"]
        with _two_nodes(command) as nodes:
            while not (out / "training" / "config.json").exists() and nodes[0].poll() is None:
                time.sleep(0.02)
            time.sleep(rng.uniform(0.0, 0.5))
            _kill(nodes[number % 2])
            nodes[1 - number % 2].wait(WAIT_SECONDS)
        steps.append(str(read(out / "training", kind="training").metrics["step"]))
        with _two_nodes(command) as nodes:
            codes = [node.wait(WAIT_SECONDS) for node in nodes]
        parts = read(out, kind="dynamics")
        same = all(torch.equal(whole.tensors[name], parts.tensors[name]) for name in whole.tensors)
        survived += codes == [0, 0] and same and parts.metrics["step"] == whole.metrics["step"]
    return Outcome(tried=times, survived=survived, figure=f"went on after step {', '.join(steps)} of 8")


@contextmanager
def _two_nodes(command: list[str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start a training's two agents, as on two machines; what is left of them ends with the block."""
    meet = ["--rdzv-endpoint", f"127.0.0.1:{free_port()}"]
    words = [sys.executable, *NODE.split(), *meet, "-m", "worldmodel", *command]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(2):
            nodes.append(subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        yield nodes
    finally:
        for node in nodes:
            _kill(node)
            node.wait()


def _kill(node: subprocess.Popen[bytes]) -> None:
    """Kill an agent and its worker at once, as a machine does that goes down."""
    if node.poll() is None:
        workers = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
        for pid in (node.pid, *map(int, workers)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
