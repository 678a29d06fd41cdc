"""Makes docs/copies.svg: frames/s by the number of games imagined at once, for one thread and for two.

    .venv/bin/python docs/plot_copies.py [CHECKPOINT]

It runs `worldmodel benchmark imagine --observation codes` with each number of threads and prints the table. Nothing
else should run meanwhile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from matplotlib.figure import Figure

OUT = Path(__file__).with_name("copies.svg")
COPIES = (1, 2, 4, 8, 16)
THREADS = (1, 2)


def measure(checkpoint: str, threads: int) -> list[float]:
    """Return the frames/s of all games together, for each of COPIES."""
    words = ["--checkpoint", checkpoint, "--batch", ",".join(map(str, COPIES)), "--observation", "codes"]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "speed.json"
        subprocess.run(
            [sys.executable, "-m", "worldmodel", "benchmark", "imagine", *words, "--starts", "0", "--json", str(path)],
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        parts = json.loads(path.read_text())["parts"]
    return [parts[f"batch {copies} in codes"]["frames_per_second"] for copies in COPIES]


def main(checkpoint: str = "maze") -> None:
    """Measure, print, draw."""
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    print(f"{'games':<10}" + "".join(f"{copies:>8}" for copies in COPIES))
    for threads in THREADS:
        speeds = measure(checkpoint, threads)
        name = f"{threads} thread{'s' if threads > 1 else ''}"
        print(f"{name:<10}" + "".join(f"{speed:>8.1f}" for speed in speeds))
        axes.plot(COPIES, speeds, marker="o", label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(COPIES, [str(copies) for copies in COPIES])
    axes.set(xlabel="games at once", ylabel="frames/s of all together", ylim=(0, None))
    axes.legend()
    figure.savefig(OUT)


if __name__ == "__main__":
    main(*sys.argv[1:])
