"""How well the probe reads the actions off somebody's future, measured by the future after the tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..simulator import Simulator
from .clips import Clips
from .intervals import CONFIDENCE, DRAWS
from .probe import STACK, Panel, confusions, macro_f1
from .subject import CLIPS_AT_ONCE

UNTOUCHED = ("real", "copy_last")  # rows that never went through the tokenizer


def read_actions(
    panel: Panel, simulator: Simulator, clips: Clips, futures: Mapping[str, np.ndarray], *, context: int
) -> dict[str, np.ndarray]:
    """Return what the probe takes the actions for in each row of futures, uint8 (b n H W 3) -> int64 (b n).

    A row `reconstruction`, of what is `real`, is added. What the tokenizer made is read after a context that it made
    too: otherwise its own mark would begin with the first future frame.
    """
    before = np.maximum(np.arange(context - STACK + 1, context), 0)
    past = clips.frames[:, before]
    rebuilt = reconstruct(simulator, past)
    rows = {"real": futures["real"], "reconstruction": reconstruct(simulator, futures["real"]), **futures}
    folds = panel.folds(clips)
    return {
        row: panel.label(np.concatenate([past if row in UNTOUCHED else rebuilt, future], axis=1), folds)
        for row, future in rows.items()
    }


def score(labels: Mapping[str, np.ndarray], told: np.ndarray, *, num_actions: int, seed: int) -> dict[str, Any]:
    """Return each row's macro F1 against the actions `told`, int64 (b n), of which those of -1 are not asked about.

    `relative` is the F1 divided by that of the reconstruction.
    """
    counts = {row: confusions(told, answered, num_actions) for row, answered in labels.items()}
    f1 = {row: f1_interval(values, np.random.default_rng(seed)) for row, values in counts.items()}
    ceiling = max(f1["reconstruction"]["mean"], 1e-9)
    return {
        "f1": f1,
        "relative": {row: values["mean"] / ceiling for row, values in f1.items()},
        "accuracy": {row: float(np.einsum("bii->", values) / values.sum()) for row, values in counts.items()},
        "labels": int((told >= 0).sum()),
    }


def f1_interval(counts: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Return the macro F1 of all clips together, counts (b asked answered), and its bootstrap interval over clips."""
    number = len(counts)
    drawn = rng.multinomial(number, np.full(number, 1 / number), size=DRAWS)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(macro_f1(np.tensordot(drawn, counts, axes=1)), [tail, 1 - tail])
    return {"mean": float(macro_f1(counts.sum(0))), "low": float(low), "high": float(high)}


def reconstruct(simulator: Simulator, frames: np.ndarray) -> np.ndarray:
    """Return uint8 (b t H W 3) after the tokenizer."""
    parts = [frames[i : i + CLIPS_AT_ONCE] for i in range(0, len(frames), CLIPS_AT_ONCE)]
    return np.concatenate([simulator.decode(simulator.tokenizer.encode(part)) for part in parts])
