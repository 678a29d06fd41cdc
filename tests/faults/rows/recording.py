"""Promises of recordings and data sets."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

from tests.faults.promises import SPAWN, Outcome, flipped, promise
from tests.worlds import record_toy
from worldmodel.rollouts import EpisodeDataset
from worldmodel.rollouts.manifest import EPISODES_FILE


def dataset_hash(path: Path) -> str:
    return EpisodeDataset(path).fingerprint


@promise(40, is_slow=True)
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
