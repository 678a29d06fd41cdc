"""Can the imagined be told from the real?

By a small classifier that is trained to do so, on reconstructed real clips and imagined ones (an accuracy of 50% is
perfect), and by the kernel distance between what an inverse-dynamics probe makes of real and of imagined frames. The
reconstructed stand for the real: otherwise the tokenizer's mark alone would tell.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch.nn import functional as F

from ...types import Report
from ..harness.clips import Clips
from ..harness.subject import Conditional, Imaginer, Subject, Unconditional, copy_last, slices
from ..metrics.classifier import SEEN, STEPS, Videos, classify
from ..metrics.cross_validation import CrossValidatedProbes, probes_for
from ..metrics.intervals import bootstrap, rounded
from ..metrics.inverse_dynamics import UNTOUCHED, reconstruct
from ..metrics.kernel_distance import excess, joint, split_distances
from ..metrics.probe import NAME, STACK
from .control import claim

HORIZONS = (1, 2, 4, 8)  # steps
CLIPS = 96
QUICK_CLIPS = 16
PARTS = 8  # of the progress: four rows imagined, the probe, three trainings

ROUNDING = 1e-9  # below it a distance is nothing: features that see nothing differ by rounding alone


def measure(subject: Subject, report: Report) -> dict[str, Any]:
    """Return the classifier's accuracy and the kernel distances by horizon, and what must hold in them.

    Raises:
        ValueError: if the data set has a single episode, or none long enough.
    """
    clips = subject.clips(max(HORIZONS), number=QUICK_CLIPS if subject.quick else min(CLIPS, subject.num_clips))
    videos = _videos(subject, clips, report)
    probes = probes_for(subject, lambda done, total: report(4, PARTS))
    folds = probes.folds(clips)
    result: dict[str, Any] = {"horizons": list(HORIZONS), "clips": len(clips.frames)}
    result["classifier"] = _classified(subject, videos, folds, report)
    result["kernel_distance"], claims = _distances(subject, clips, videos, probes)
    return result | {"sanity": [*_classifier_claims(result["classifier"], len(clips.frames)), *claims]}


def _videos(subject: Subject, clips: Clips, report: Report) -> dict[str, np.ndarray]:
    """Return each row's video of every clip, uint8 (b t H W 3): SEEN - 1 frames of context, then the future.

    Only what never went through the tokenizer follows a context that did not.
    """
    context = subject.context
    recorded = clips.actions[:, context - 1 :]
    past = clips.frames[:, np.maximum(np.arange(context - SEEN + 1, context), 0)]
    real = clips.frames[:, context:]
    told: Imaginer = Conditional(subject.simulator)
    wrong = wrong_actions(recorded, len(subject.dataset.info.action_names), np.random.default_rng(subject.seed))
    asked: dict[str, tuple[Imaginer, np.ndarray]] = {
        "model": (told, recorded),
        "wrong_actions": (told, wrong),
        "no_actions": (Unconditional(subject.simulator), recorded),
        "copy_last": (copy_last, recorded),
    }
    futures = {"real": real, "reconstruction": reconstruct(subject.simulator, real)}
    parts: dict[str, list[np.ndarray]] = {row: [] for row in asked}
    for part in slices(len(clips.frames)):
        for row, (imaginer, actions) in asked.items():
            seed = subject.seed + part.start
            parts[row].append(imaginer(clips[part], actions[part], context=context, seed=seed))
        report(4 * part.stop // len(clips.frames), PARTS)
    futures |= {row: np.concatenate(found) for row, found in parts.items()}
    rebuilt = reconstruct(subject.simulator, past)
    return {
        row: np.concatenate([past if row in UNTOUCHED else rebuilt, future], axis=1) for row, future in futures.items()
    }


def wrong_actions(actions: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Return for each action another one of `number`, drawn uniformly: int64 (b n)."""
    wrong: np.ndarray = (actions + rng.integers(1, number, size=actions.shape)) % number
    return wrong


def shuffled(videos: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return uint8 (b t H W 3) whose frames stand in another order, drawn for each video."""
    return np.stack([video[rng.permutation(len(video))] for video in videos])


def blurred(videos: np.ndarray) -> np.ndarray:
    """Return uint8 (b t H W 3), each pixel the mean of a square whose side is an eighth of the frame's."""
    b, side = len(videos), videos.shape[2] // 8 // 2 * 2 + 1
    pixels = torch.from_numpy(rearrange(videos, "b t H W c -> (b t) c H W")).float()
    smooth = F.avg_pool2d(pixels, side, stride=1, padding=side // 2, count_include_pad=False)
    return rearrange(smooth.round().to(torch.uint8).numpy(), "(b t) c H W -> b t H W c", b=b)


def _classified(
    subject: Subject, videos: Mapping[str, np.ndarray], folds: np.ndarray, report: Report
) -> dict[str, Any]:
    """Return how often the classifier is right about pairs of a real and another video, by horizon.

    `same` are reconstructed real videos that a coin has divided into two kinds: nobody can do better than chance.
    `shuffled` are videos as they were recorded, against the same ones with their frames in another order.
    """
    rng = np.random.default_rng(subject.seed)
    real = videos["reconstruction"]
    b = len(real)
    steps = STEPS // 4 if subject.quick else STEPS
    twos = {"model": (real, videos["model"]), "shuffled": (videos["real"], shuffled(videos["real"], rng))}
    pairs = {
        row: Videos(frames=np.concatenate(two), kinds=np.arange(2 * b) // b, folds=np.tile(folds, 2))
        for row, two in twos.items()
    }
    pairs["same"] = Videos(frames=real, kinds=rng.permutation(b) % 2, folds=folds)
    accuracy = {}
    for number, (row, pair) in enumerate(pairs.items()):
        right = classify(pair, HORIZONS, seed=subject.seed, steps=steps).reshape(-1, b, len(HORIZONS)).mean(0)
        accuracy[row] = bootstrap(right, np.random.default_rng(subject.seed)) | {"per_clip": rounded(right)}
        report(PARTS - len(pairs) + number + 1, PARTS)
    return {"frames": SEEN, "folds_of_episodes": len(np.unique(folds)), "accuracy": accuracy}


def _classifier_claims(classifier: Mapping[str, Any], number: int) -> Iterator[dict[str, Any]]:
    same, order = (classifier["accuracy"][row] for row in ("same", "shuffled"))
    # Three standard deviations of a coin thrown once a clip: exact, as the kinds are a coin's.
    mean, slack = float(np.mean(same["mean"])), 3 * 0.5 / np.sqrt(number)
    yield claim("the classifier cannot tell real from real", abs(mean - 0.5) <= slack, same=mean, slack=float(slack))
    clips = np.array(order["per_clip"]).mean(1)
    found, error = float(clips.mean()), float(clips.std(ddof=1) / np.sqrt(number))
    text = "the classifier tells videos that are shuffled in time, by two standard errors over clips"
    yield claim(text, found > 0.5 + 2 * error, shuffled=found, standard_error=error)


def _distances(
    subject: Subject, clips: Clips, videos: Mapping[str, np.ndarray], probes: CrossValidatedProbes
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the kernel distance of each row by horizon, and what must hold between them."""
    rng = np.random.default_rng(subject.seed)
    told = clips.actions[:, subject.context - 1 :]
    rows = dict(videos)
    rows["blurred"], rows["shuffled"] = blurred(videos["real"]), shuffled(videos["real"], rng)
    folds = probes.folds(clips)
    features = {row: probes.features(video, folds).astype(np.float64) for row, video in rows.items()}
    told = told[:, np.array(HORIZONS) - 1].T
    at = {row: values[:, np.array(HORIZONS) + SEEN - STACK - 1].swapaxes(0, 1) for row, values in features.items()}
    groups = list(_groups(at, told, folds, len(probes.action_names)))
    if not groups:
        raise ValueError(f"{len(folds)} clips are too few for a kernel distance; draw more clips")
    weights = [group["real"].shape[1] for group in groups]
    parts = [_by_horizon(group, subject.seed) for group in groups]
    distances = {row: np.average([part[row] for part in parts], axis=0, weights=weights).tolist() for row in rows}
    answer = {"features": f"penultimate layer of the {NAME}, and the action told", "distance": distances}
    return answer, list(_distance_claims(groups, distances))


def _groups(
    at: Mapping[str, np.ndarray], told: np.ndarray, folds: np.ndarray, num_actions: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield each fold's features (h n d) of each row, with the actions told (h b): each has a network of its own."""
    for fold in np.unique(folds):
        mine = folds == fold
        if mine.sum() < 4:  # no two clips in each half
            continue
        real = at["real"][:, mine]
        mean, spread = real.mean(1, keepdims=True), real.std((1, 2), keepdims=True) + 1e-9
        ours = {row: (values[:, mine] - mean) / spread for row, values in at.items()}
        yield {
            row: np.stack([joint(*pair, num_actions) for pair in zip(values, told[:, mine], strict=True)])
            for row, values in ours.items()
        }


def _by_horizon(group: Mapping[str, np.ndarray], seed: int) -> dict[str, list[float]]:
    """Return the distance of each row by horizon, of features (h n d)."""
    found: dict[str, list[float]] = {row: [] for row in group}
    for horizon, real in enumerate(group["real"]):
        ours = {row: values[horizon] for row, values in group.items()}
        for row, values in split_distances(ours, real, rng=np.random.default_rng(seed)).items():
            found[row].append(float(values.mean()))
    return found


def _distance_claims(
    groups: Sequence[Mapping[str, np.ndarray]], distances: Mapping[str, Sequence[float]]
) -> Iterator[dict[str, Any]]:
    """Yield the order of the rows: none is clearly nearer than the one before, and nothing spoiled is nearer than real.

    Clearly is by more than two standard errors, as the clips that were drawn leave so much open.
    """
    order = ("real", "reconstruction", "model", "wrong_actions")
    figures = {row: float(np.mean(values)) for row, values in distances.items()}
    steps = [_farther(groups, after, before) for before, after in itertools.pairwise(order)]
    holds = all(difference + slack >= 0 for difference, slack in steps)
    yield claim(f"kernel distance: {' <= '.join(order)}", holds, **{row: figures[row] for row in order})
    for row in ("blurred", "shuffled"):
        difference, slack = _farther(groups, row, "real")
        text = f"kernel distance: real videos are farther once they are {row}, within the slack"
        yield claim(text, difference + slack > ROUNDING, farther_by=difference, slack=slack)


def _farther(groups: Sequence[Mapping[str, np.ndarray]], row: str, other: str) -> tuple[float, float]:
    """Return by how much a row is farther from the real than another, and two standard errors of that."""
    weights = np.array([group["real"].shape[1] for group in groups], np.float64)
    weights /= weights.sum()
    found = [excess(group[row], group[other], group["real"]) for group in groups]
    variance = sum(weight**2 * spread for weight, (_, spread) in zip(weights, found, strict=True))
    difference = sum(weight * mean for weight, (mean, _) in zip(weights, found, strict=True))
    return float(difference), float(2 * variance**0.5)
