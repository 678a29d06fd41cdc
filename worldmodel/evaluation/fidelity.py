"""How near is the imagined future to the real one, step by step, under the recorded actions?

Four rows, because a number is worth nothing without its baselines: the tokenizer's reconstruction of the real future
(the ceiling), the model, the model without actions, and the last context frame held still.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..simulator import Simulator
from ..types import NO_ACTION
from .clips import Clips, psnr

ROWS = ("reconstruction", "model", "no_actions", "copy_last")
CLIPS_AT_ONCE = 8


def evaluate_fidelity(
    simulator: Simulator,
    clips: Clips,
    *,
    context: int,
    seed: int = 0,
    on_clips: Callable[[int], None] = lambda number: None,
) -> dict[str, Any]:
    """Return PSNR in dB by step for each of ROWS, over all clips and over the moving ones.

    Args:
        simulator: the world model.
        clips: each of `context` frames and the future that followed.
        context: how many frames the model is given.
        seed: of the imagination.
        on_clips: is told how many clips have just been done.
    """
    parts: dict[str, list[np.ndarray]] = {row: [] for row in ROWS}
    for start in range(0, len(clips.frames), CLIPS_AT_ONCE):
        frames = clips.frames[start : start + CLIPS_AT_ONCE]
        actions = clips.actions[start : start + CLIPS_AT_ONCE]
        for row, futures in _futures(simulator, frames, actions, context=context, seed=seed + start).items():
            parts[row].append(psnr(futures, frames[:, context:]))
        on_clips(len(frames))
    quality = {row: np.concatenate(part) for row, part in parts.items()}  # (b n)
    return {
        "context": context,
        "clips": len(clips.frames),
        "psnr": {row: values.mean(0).tolist() for row, values in quality.items()},
        "psnr_moving": {row: values[clips.moving].mean(0).tolist() for row, values in quality.items()},
    }


def _futures(
    simulator: Simulator, frames: np.ndarray, actions: np.ndarray, *, context: int, seed: int
) -> dict[str, np.ndarray]:
    """Return each row's frames (b n H W 3) for the future of some clips."""
    past, real = frames[:, :context], frames[:, context:]
    known, future = actions[:, : context - 1], actions[:, context - 1 :]
    untold = (np.full_like(known, NO_ACTION), np.full_like(future, NO_ACTION))
    return {
        "reconstruction": simulator.decode(simulator.tokenizer.encode(real)),
        "model": simulator.imagine(past, known, future, seed=seed).frames,
        "no_actions": simulator.imagine(past, *untold, seed=seed).frames,
        "copy_last": np.broadcast_to(past[:, -1:], real.shape),
    }
