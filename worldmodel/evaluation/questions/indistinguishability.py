"""Can the imagined be told from the real?

By a small classifier that is trained to do so, on reconstructed real clips and imagined ones (an accuracy of 50% is
perfect), and by the kernel distance between what an inverse-dynamics probe makes of real and of imagined frames. The
reconstructed stand for the real: otherwise the tokenizer's mark alone would tell.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from einops import rearrange
from torch.nn import functional as F

from ...types import Report
from ..answers import Answer, Claim, Curve, Scalar, Series
from ..harness.clips import Clips
from ..harness.subject import Imaginer, Subject
from ..metrics.classifier import SEEN, STEPS, Videos, classify
from ..metrics.cross_validation import CrossValidatedProbes, probes_for
from ..metrics.intervals import by_step, rounded
from ..metrics.inverse_dynamics import UNTOUCHED, reconstruct
from ..metrics.kernel_distance import excess, joint, split_distances
from ..metrics.probe import NAME, STACK

HORIZONS = (1, 2, 4, 8)  # steps
HORIZON = 10  # the clips are those on which fidelity is measured: their futures are imagined there
CLIPS = 96
QUICK_CLIPS = 16
PARTS = 8  # of the progress: four rows imagined, the probe, three trainings

ROUNDING = 1e-9  # below it a distance is nothing: features that see nothing differ by rounding alone


def measure(subject: Subject, report: Report) -> Answer:
    """Return the classifier's accuracy and the kernel distances by horizon, and what must hold in them.

    Raises:
        ValueError: if the data set has a single episode, or none long enough.
    """
    clips = subject.clips(HORIZON, number=max(QUICK_CLIPS, subject.few(min(CLIPS, subject.num_clips))))
    videos = _videos(subject, clips, report)
    probes = probes_for(subject, lambda done, total: report(4, PARTS))
    folds = probes.folds(clips)
    facts = {"clips": len(clips.frames), "frames": SEEN, "folds of episodes": len(np.unique(folds))}
    answer = Answer(scalars={name: Scalar(value) for name, value in facts.items()})
    return answer | _classified(subject, videos, folds, report) | _distances(subject, clips, videos, probes)


def _videos(subject: Subject, clips: Clips, report: Report) -> dict[str, np.ndarray]:
    """Return each row's video of every clip, uint8 (b t H W 3): SEEN - 1 frames of context, then the future.

    Only what never went through the tokenizer follows a context that did not.
    """
    context, steps = subject.context, max(HORIZONS)
    recorded, wrong = (found[:, context - 1 :] for found in (clips.actions, subject.wrong_actions(clips)))
    past = clips.frames[:, np.maximum(np.arange(context - SEEN + 1, context), 0)]
    real = clips.frames[:, context : context + steps]
    asked: dict[str, tuple[Imaginer, np.ndarray]] = {
        row: (imaginer, recorded) for row, imaginer in subject.imaginers().items()
    }
    asked["wrong_actions"] = (subject.conditional["model"], wrong)
    futures = {"real": real, "reconstruction": reconstruct(subject.simulator, real)}
    for done, (row, (imaginer, actions)) in enumerate(asked.items(), 1):
        futures[row] = imaginer(clips, actions, context=context, seed=subject.seed)[:, :steps]
        report(4 * done // len(asked), PARTS)
    rebuilt = reconstruct(subject.simulator, past)
    return {
        row: np.concatenate([past if row in UNTOUCHED else rebuilt, future], axis=1) for row, future in futures.items()
    }


def shuffled(videos: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return uint8 (b t H W 3) whose frames stand in another order, drawn for each video."""
    return np.stack([video[rng.permutation(len(video))] for video in videos])


def blurred(videos: np.ndarray) -> np.ndarray:
    """Return uint8 (b t H W 3), each pixel the mean of a square whose side is an eighth of the frame's."""
    b, side = len(videos), videos.shape[2] // 8 // 2 * 2 + 1
    pixels = torch.from_numpy(rearrange(videos, "b t H W c -> (b t) c H W")).float()
    smooth = F.avg_pool2d(pixels, side, stride=1, padding=side // 2, count_include_pad=False)
    return rearrange(smooth.round().to(torch.uint8).numpy(), "(b t) c H W -> b t H W c", b=b)


def _classified(subject: Subject, videos: Mapping[str, np.ndarray], folds: np.ndarray, report: Report) -> Answer:
    """Return how often the classifier is right about pairs of a real and another video, by horizon.

    `same` are reconstructed real videos divided at random into two kinds: no classifier does better than chance.
    `shuffled` are videos as they were recorded, against the same ones with their frames in another order.
    """
    rng = np.random.default_rng(subject.seed)
    real = videos["reconstruction"]
    b = len(real)
    steps = STEPS // 4 if subject.quick else STEPS
    twos = {row: (real, videos[row]) for row in subject.simulators}
    twos["shuffled"] = (videos["real"], shuffled(videos["real"], rng))
    pairs = {
        row: Videos(frames=np.concatenate(two), kinds=np.arange(2 * b) // b, folds=np.tile(folds, 2))
        for row, two in twos.items()
    }
    pairs["same"] = Videos(frames=real, kinds=rng.permutation(b) % 2, folds=folds)
    right: dict[str, np.ndarray] = {}
    for number, (row, pair) in enumerate(pairs.items()):
        found = classify(pair, HORIZONS, seed=subject.seed, steps=steps)
        right[row] = found.reshape(-1, b, len(HORIZONS)).mean(0)
        report(4 + (PARTS - 4) * (number + 1) // len(pairs), PARTS)
    rng = np.random.default_rng(subject.seed)
    curves = {row: by_step(values, rng) for row, values in right.items()}
    return Answer(
        series={"classifier": Series("accuracy of a classifier trained to find the imagined", HORIZONS, curves)},
        clips={f"classifier/{row}": rounded(values) for row, values in right.items()},
        claims=tuple(_classifier_claims(right["same"], right["shuffled"])),
    )


def _classifier_claims(same: np.ndarray, order: np.ndarray) -> Iterator[Claim]:
    """Yield what holds of accuracies (b h) if the classifier can be believed."""
    # Four standard deviations of a coin thrown once a clip: the kinds are a coin's.
    mean, slack = float(same.mean()), 4 * 0.5 / np.sqrt(len(same))
    text = "the classifier cannot tell real from real"
    yield Claim(text=text, holds=abs(mean - 0.5) <= slack, figures={"same": mean, "slack": float(slack)})
    clips = order.mean(1)
    found, error = float(clips.mean()), float(clips.std(ddof=1) / np.sqrt(len(clips)))
    text = "the classifier does not take videos shuffled in time for real ones, within four standard errors"
    figures = {"shuffled": found, "standard error": error}
    yield Claim(text=text, holds=found > 0.5 - 4 * error - ROUNDING, figures=figures)


def _distances(
    subject: Subject, clips: Clips, videos: Mapping[str, np.ndarray], probes: CrossValidatedProbes
) -> Answer:
    """Return the kernel distance of each row by horizon, and what must hold between them."""
    rng = np.random.default_rng(subject.seed)
    given = clips.actions[:, subject.context - 1 :]
    rows = dict(videos)
    rows["blurred"], rows["shuffled"] = blurred(videos["real"]), shuffled(videos["real"], rng)
    folds = probes.folds(clips)
    features = {row: probes.features(video, folds).astype(np.float64) for row, video in rows.items()}
    given = given[:, np.array(HORIZONS) - 1].T
    at = {row: values[:, np.array(HORIZONS) + SEEN - STACK - 1].swapaxes(0, 1) for row, values in features.items()}
    groups = list(_groups(at, given, folds, len(probes.action_names)))
    if not groups:
        raise ValueError(f"{len(folds)} clips are too few for a kernel distance; draw more clips")
    weights = [group["real"].shape[1] for group in groups]
    parts = [_by_horizon(group, subject.seed) for group in groups]
    distances = {row: np.average([part[row] for part in parts], axis=0, weights=weights).tolist() for row in rows}
    title = f"kernel distance of the {NAME}'s features and the action given"
    curves = {row: Curve(tuple(values)) for row, values in distances.items()}
    return Answer(
        series={"kernel_distance": Series(title, HORIZONS, curves)}, claims=tuple(_distance_claims(groups, distances))
    )


def _groups(
    at: Mapping[str, np.ndarray], given: np.ndarray, folds: np.ndarray, num_actions: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield each fold's features (h n d) of each row, with the actions given (h b): each has a network of its own."""
    for fold in np.unique(folds):
        mine = folds == fold
        if mine.sum() < 4:  # no two clips in each half
            continue
        real = at["real"][:, mine]
        mean, spread = real.mean(1, keepdims=True), real.std((1, 2), keepdims=True) + 1e-9
        ours = {row: (values[:, mine] - mean) / spread for row, values in at.items()}
        yield {
            row: np.stack([joint(*pair, num_actions) for pair in zip(values, given[:, mine], strict=True)])
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
) -> Iterator[Claim]:
    """Yield the order of the rows: none is clearly nearer than the one before, and nothing spoiled is nearer than real.

    Clearly is by more than four standard errors, as the clips that were drawn leave so much open.
    """
    order = ("real", "reconstruction", "model", "wrong_actions")
    figures = {row: float(np.mean(values)) for row, values in distances.items()}
    steps = [_farther(groups, after, before) for before, after in itertools.pairwise(order)]
    holds = all(difference + slack >= 0 for difference, slack in steps)
    text = f"kernel distance: {' <= '.join(order)}"
    yield Claim(text=text, holds=holds, figures={row: figures[row] for row in order})
    for row in ("blurred", "shuffled"):
        difference, slack = _farther(groups, row, "real")
        text = f"kernel distance: real videos are no nearer once they are {row}, within the slack"
        held = difference + slack > -ROUNDING
        yield Claim(text=text, holds=held, figures={"farther by": difference, "slack": slack})


def _farther(groups: Sequence[Mapping[str, np.ndarray]], row: str, other: str) -> tuple[float, float]:
    """Return by how much a row is farther from the real than another, and four standard errors of that."""
    weights = np.array([group["real"].shape[1] for group in groups], np.float64)
    weights /= weights.sum()
    found = [excess(group[row], group[other], group["real"]) for group in groups]
    variance = sum(weight**2 * spread for weight, (_, spread) in zip(weights, found, strict=True))
    difference = sum(weight * mean for weight, (mean, _) in zip(weights, found, strict=True))
    return float(difference), float(4 * variance**0.5)
