"""Does the imagined world stand still when nobody acts?

The action that does nothing is held for hundreds of frames. How far does the picture drift from its tenth frame, how
far from what the real game shows under the same, and how likely does the model hold its own codes?
"""

from __future__ import annotations

from contextlib import closing

import numpy as np
import torch

from ...action_names import IDLE
from ...envs import GameDiedError
from ...imagination.truth import FutureEndsError
from ...simulator import Simulator
from ...types import Codes, Report
from ..answers import Answer, Scalar, Series, Table
from ..harness.clips import Clips, psnr
from ..harness.oracle import Oracle
from ..harness.subject import Subject
from ..metrics.intervals import bootstrap, by_step, rounded
from ..metrics.scoring import clip_nats

NOOPS = (*IDLE, "done")  # MiniGrid's `done` does nothing, too
FRAMES, QUICK_FRAMES = 600, 60
VIDEOS = 4
BLOCK = 30  # frames that are summed up in one number
TENTH = 9  # the frame that all later ones are compared with: what moved before has come to rest
TITLES = {
    "psnr_to_tenth": "PSNR to the tenth frame, dB",
    "real_psnr_to_tenth": "the real game's PSNR to its tenth frame, dB",
    "psnr_to_real_game": "PSNR to the real game under no action, dB",
}


def measure(subject: Subject, report: Report) -> Answer:
    """Return the drift from the tenth frame, from the real game, and the NLL of own samples, by block of frames.

    Without an action that does nothing it is said that it was skipped.
    """
    noop = noop_of(subject.simulator.action_names)
    if noop is None:
        return Answer(skipped={"": f"no action is named one of {', '.join(NOOPS)}"})
    number, frames = (2, QUICK_FRAMES) if subject.quick else (VIDEOS, FRAMES)
    clips = subject.clips(1, number=number)
    real, reason = _really(subject, clips, noop, frames)
    values: dict[str, dict[str, np.ndarray]] = {name: {} for name in TITLES}
    nats: dict[str, dict[str, np.ndarray]] = {}
    if real is not None:
        values["real_psnr_to_tenth"]["real"] = psnr(real, real[:, TENTH : TENTH + 1])
    for done, (row, simulator) in enumerate(subject.simulators.items(), 1):
        codes = _stay(simulator, clips, noop, frames, context=subject.context, seed=subject.seed)
        shown = np.concatenate([simulator.decode(part) for part in codes.split(BLOCK, dim=1)], axis=1)
        values["psnr_to_tenth"][row] = psnr(shown, shown[:, TENTH : TENTH + 1])
        nats[row] = {"own": _last_block(simulator, codes, noop, subject.context)}
        if real is not None:
            values["psnr_to_real_game"][row] = psnr(shown[:, : real.shape[1]], real)
            recorded = simulator.tokenizer.encode(real[:, -subject.context - BLOCK :])
            nats[row]["real game"] = _last_block(simulator, recorded, noop, subject.context)
        report(done, len(subject.simulators))
    blocks = {name: {row: _blocks(found) for row, found in rows.items()} for name, rows in values.items() if rows}
    rng = np.random.default_rng(subject.seed)
    cells = {row: tuple(bootstrap(found, rng) for found in each.values()) for row, each in nats.items()}
    return Answer(
        scalars={"videos": Scalar(number), "frames": Scalar(frames)},
        tables={"nats": Table("NLL of the last block, nats a code, of", tuple(nats["model"]), cells)},
        series={name: _series(TITLES[name], rows, rng) for name, rows in blocks.items()},
        clips={f"{name}/{row}": rounded(found) for name, rows in blocks.items() for row, found in rows.items()},
        skipped={"the real game": reason} if reason else {},
    )


def _series(title: str, rows: dict[str, np.ndarray], rng: np.random.Generator) -> Series:
    """Return blocks (b m) of each row by their last frame."""
    count = next(iter(rows.values())).shape[1]
    steps = tuple(BLOCK * (block + 1) for block in range(count))
    return Series(title, steps, {row: by_step(found, rng) for row, found in rows.items()})


def noop_of(names: tuple[str, ...]) -> int | None:
    """Return the action that does nothing, None where no name says so."""
    return next((index for index, name in enumerate(names) if name.lower() in NOOPS), None)


def _stay(simulator: Simulator, clips: Clips, noop: int, frames: int, *, context: int, seed: int) -> Codes:
    """Return the codes (b n h w) of what is imagined while nothing is done."""
    own = simulator.fork()
    own.seed(seed)
    own.reset(clips.frames[:, :context], clips.actions[:, : context - 1])
    held = np.full(len(clips.frames), noop)
    return torch.stack([own.step(held) for _ in range(frames)], dim=1)


def _last_block(simulator: Simulator, codes: Codes, noop: int, context: int) -> np.ndarray:
    """Return nats a code of the last block of videos (b n h w), scored as recorded clips are: (b).

    A video that is shorter than a context and a block is scored after as long a context as there is.
    """
    last = codes[:, -context - BLOCK :]
    actions = np.full((len(last), last.shape[1] - 1), noop)
    return clip_nats(simulator, last, actions, context=last.shape[1] - BLOCK or 1).mean(1)


def _really(subject: Subject, clips: Clips, noop: int, frames: int) -> tuple[np.ndarray | None, str]:
    """Return what the real game shows of every clip, uint8 (b n H W 3): all frames, or half of them and so on, as long
    as it goes on; None and why where that is less than a block, or it cannot be replayed.
    """
    reason = ""
    try:
        with closing(Oracle(subject.dataset)) as oracle:
            while frames >= BLOCK:
                try:
                    future = np.full((len(clips.frames), frames), noop)
                    return oracle(clips, future, context=subject.context), ""
                except FutureEndsError as error:
                    reason, frames = str(error), frames // 2 // BLOCK * BLOCK
    except (ValueError, ImportError, GameDiedError) as error:
        reason = str(error)
    return None, reason


def _blocks(values: np.ndarray) -> np.ndarray:
    """Return the mean of each block: (b n) -> (b n/BLOCK)."""
    out: np.ndarray = values.reshape(len(values), -1, BLOCK).mean(2)
    return out
