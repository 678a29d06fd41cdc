"""Makes docs/play.webp: somebody walks through the maze, imagined beside real, as `worldmodel play` shows it.

    .venv/bin/python docs/record_play.py [START] [KEYS]

START is EPISODE@FRAME of the held-out episodes, KEYS is written as `imagine --action` takes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from worldmodel.action_script import parse
from worldmodel.imagination.sources import Source, load_context
from worldmodel.imagination.videos import EPISODES, decibels
from worldmodel.play.library import NUM_CONTEXT, Library
from worldmodel.play.recording import draw
from worldmodel.play.session import Session, Start

OUT = Path(__file__).with_name("play.webp")
START = "6@38"
KEYS = "forward:7/forward+right:7/right:3/forward:7"
SIDE = 256  # pixels of a picture
QUALITY = 45


def main(start: str = START, keys: str = KEYS) -> None:
    """Play, draw, write, and say how near the two games stayed to each other."""
    simulator = Library().load("maze").simulator
    source = Source.parse(f"{EPISODES}:{start}")
    context = load_context(source, simulator, num_frames=NUM_CONTEXT, horizon=0, seed=0)
    (script,) = parse(keys, simulator.action_names)
    session = Session(simulator, "maze")
    session.begin(Start(name=start, context=context), seed=0, temperature=1.0)
    session.show("both")
    shown = [session.step(int(key)) for key in script.expand(script.min_steps)]
    session.close()
    pictures = [Image.fromarray(draw(list(each.images.items()), each.action, side=SIDE)) for each in shown]
    rate = simulator.frames_per_second
    pictures[0].save(
        OUT, save_all=True, append_images=pictures[1:], duration=round(1000 / rate), loop=0, quality=QUALITY, method=6
    )
    psnr = [decibels(each.images["real"], each.images["imagined"]) for each in shown]
    print(f"{OUT}: {len(shown)} frames, {OUT.stat().st_size / 1000:.0f} kB, PSNR {np.round(psnr, 1).tolist()} dB")


if __name__ == "__main__":
    main(*sys.argv[1:])
