"""The promise of privacy: nothing is asked of a network."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

from tests.faults.promises import SPAWN, Outcome, promise
from tests.worlds import record_toy, save_simulator

# Python imports this by itself in every process that a command starts.
WATCHER = """
import os, sys

def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        place = arguments[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        place = arguments[1]
    else:
        return
    if isinstance(place, tuple) or event.startswith("socket.get"):  # others are sockets within the machine
        with open(os.environ["ATTEMPTS"], "a") as file:
            file.write(f"{event} {place}\\n")

sys.addaudithook(watch)
"""
SIZES = "--steps 2 --processes 1 --set batch=1"
TOKENIZER = f"{SIZES} --set hidden_dim=16 --set residual_dim=8 --set codebook_size=16"
DYNAMICS = f"{SIZES} --set context_dim=32 --set context_layers=1 --set decoder_dim=32 --set head_dim=16 --set clip=6"


@promise(8, is_slow=True)
def nothing_asks_the_network(work: Path, times: int, rng: random.Random) -> Outcome:
    """with the network denied, no command tries to reach it: no connection, no name looked up"""
    (work / "watcher").mkdir()
    (work / "watcher" / "sitecustomize.py").write_text(WATCHER)
    data, model = record_toy(work / "d", episodes=2), save_simulator(work / "m")
    commands = [
        f"imagine --from {data} --checkpoint {model} --steps 2 --out {work}/i",
        f"train-tokenizer --data {data} --out {work}/t {TOKENIZER}",
        f"collect-rollouts --env toy --episodes 2 --workers 2 --out {work}/c",
        f"train-dynamics --data {data} --tokenizer {model}/tokenizer --out {work}/dy {DYNAMICS}",
        f"evaluate --data {data} --checkpoint {model} --only tokenizer --quick --set processes=1 --out {work}/e",
        f"preview {data} --out {work}/p",
        f"inspect {data}",
        "gallery",
    ][:times]
    attempts = work / "attempts"
    environment = os.environ | {"PYTHONPATH": str(work / "watcher"), "ATTEMPTS": str(attempts)}
    denied = ["unshare", "-rn"]
    if subprocess.run([*denied, "true"], capture_output=True, check=False).returncode:
        denied = []  # no right to: the watcher alone tells
    survived = 0
    for command in commands:
        attempts.write_text("")
        done = subprocess.run(
            [*denied, *SPAWN, *command.split()], env=environment, cwd=work, capture_output=True, check=False
        )
        survived += done.returncode == 0 and not attempts.read_text()
    how = "in a network namespace without an interface" if denied else "watched, with the network there"
    return Outcome(tried=len(commands), survived=survived, figure=how)
