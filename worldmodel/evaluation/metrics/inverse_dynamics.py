"""How well the probe recovers the actions from a future, relative to the real one after the tokenizer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...simulator import Simulator
from ..answers import Scalar, Table
from ..harness.clips import Clips
from ..harness.subject import slices
from .cross_validation import CrossValidatedProbes
from .intervals import CONFIDENCE, DRAWS
from .probe import STACK, confusions, macro_f1

UNTOUCHED = ("real", "copy_last")  # rows that never went through the tokenizer


def read_actions(
    probes: CrossValidatedProbes, simulator: Simulator, clips: Clips, futures: Mapping[str, np.ndarray], *, context: int
) -> dict[str, np.ndarray]:
    """Return what the probe takes the actions for in each row of futures, uint8 (b n H W 3) -> int64 (b n).

    A row `reconstruction`, of what is `real`, is added.
    """
    rows = {"real": futures["real"], "reconstruction": reconstruct(simulator, futures["real"]), **futures}
    folds = probes.folds(clips)
    videos = after_context(simulator, clips, rows, context=context)
    return {row: probes.label(video, folds) for row, video in videos.items()}


def feature_distances(
    probes: CrossValidatedProbes, simulator: Simulator, clips: Clips, futures: Mapping[str, np.ndarray], *, context: int
) -> dict[str, np.ndarray]:
    """Return how far what the probe sees in each row of futures, uint8 (b n H W 3), is from the real: float64 (b n).

    At each step 1 less the cosine of the angle between the features of the frame that is `real` and of the row's, each
    seen with the two frames before it in its own row: 0 for the same, at most 1, as no feature is negative.
    """
    folds = probes.folds(clips)
    videos = after_context(simulator, clips, futures, context=context)
    features = {row: probes.features(video, folds).astype(np.float64) for row, video in videos.items()}
    units = {row: x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9) for row, x in features.items()}
    return {row: 1 - (unit * units["real"]).sum(-1) for row, unit in units.items() if row != "real"}


def after_context(
    simulator: Simulator, clips: Clips, futures: Mapping[str, np.ndarray], *, context: int
) -> dict[str, np.ndarray]:
    """Return each row of futures, uint8 (b n H W 3), behind the frames that the probe sees before it: (b 2+n H W 3).

    What the tokenizer made stands behind a context that it made too: otherwise its own mark would begin with the first
    future frame.
    """
    past = clips.frames[:, np.maximum(np.arange(context - STACK + 1, context), 0)]
    rebuilt = reconstruct(simulator, past)
    return {
        row: np.concatenate([past if row in UNTOUCHED else rebuilt, future], axis=1) for row, future in futures.items()
    }


def score(title: str, labels: Mapping[str, np.ndarray], asked: np.ndarray, *, num_actions: int, seed: int) -> Table:
    """Return each row's macro F1 against the actions `asked`, int64 (b n), of which those of -1 are not asked about.

    `relative` is the F1 divided by that of the reconstruction.
    """
    counts = {row: confusions(asked, answered, num_actions) for row, answered in labels.items()}
    f1 = {row: f1_interval(values, np.random.default_rng(seed)) for row, values in counts.items()}
    ceiling = max(f1["reconstruction"].number, 1e-9)
    cells = {
        row: (
            f1[row],
            Scalar(f1[row].number / ceiling),
            Scalar(float(np.einsum("bii->", values) / values.sum())),
        )
        for row, values in counts.items()
    }
    return Table(f"{title}, {int((asked >= 0).sum())} labels", ("f1", "relative", "accuracy"), cells)


def shares_right(labels: Mapping[str, np.ndarray], asked: np.ndarray) -> dict[str, np.ndarray]:
    """Return for each row the share of the actions `asked`, int64 (b n), that is read right in each clip (b), of the
    clips that are asked about an action at all.
    """
    known = asked >= 0
    some = known.any(1)
    return {row: (((read == asked) & known).sum(1) / np.maximum(known.sum(1), 1))[some] for row, read in labels.items()}


def f1_interval(counts: np.ndarray, rng: np.random.Generator) -> Scalar:
    """Return the macro F1 of all clips together, counts (b asked answered), and its bootstrap interval over clips."""
    number = len(counts)
    drawn = rng.multinomial(number, np.full(number, 1 / number), size=DRAWS)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(macro_f1(np.tensordot(drawn, counts, axes=1)), [tail, 1 - tail])
    return Scalar(float(macro_f1(counts.sum(0))), float(low), float(high))


def reconstruct(simulator: Simulator, frames: np.ndarray) -> np.ndarray:
    """Return uint8 (b t H W 3) after the tokenizer."""
    parts = [frames[part] for part in slices(len(frames))]
    return np.concatenate([simulator.decode(simulator.tokenizer.encode(part)) for part in parts])
