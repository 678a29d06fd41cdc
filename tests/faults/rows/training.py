"""Promises of training."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import torch

from tests.faults.promises import SPAWN, Outcome, promise
from tests.training.test_loop import CONFIG, Line
from tests.worlds import record_toy
from worldmodel.checkpoints.checkpoint import read
from worldmodel.training.loop import DivergedError, train

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
