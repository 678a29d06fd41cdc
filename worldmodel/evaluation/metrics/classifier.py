"""A small network that is trained to tell two kinds of videos apart, and asked about videos it has never seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

SEEN = 4  # frames: the newest one and the three before it
CROP = 48  # pixels to train on, a random part of the picture; it is asked about the whole
STEPS = 200  # of training
BATCH = 32
LEARNING_RATE = 1e-2


class Classifier(nn.Module):
    """SEEN frames -> a logit: of the second kind. Fully convolutional: it looks for marks wherever they are."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*_block(3 * SEEN + 3, 24), *_block(24, 32), *_block(32, 48))
        self.head = nn.Linear(2 * 48, 1)

    def forward(self, seen: Tensor) -> Tensor:
        """Return logits (n) for (n c h w)."""
        features = self.features(seen)
        pooled = torch.cat([features.mean((-2, -1)), features.amax((-2, -1))], dim=1)
        logits: Tensor = self.head(pooled)[:, 0]
        return logits


# Normalised over the batch, not within a picture: how much of something there is may be what tells.
def _block(channels: int, width: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()


def see(stacks: np.ndarray) -> Tensor:
    """Return float (n c H W) for uint8 (n s H W 3), s = SEEN: the newest frame, its grain, and the changes up to it."""
    frames = torch.from_numpy(rearrange(stacks, "n s H W c -> s n c H W")).float() / 127.5 - 1
    grain = frames[-1] - F.avg_pool2d(frames[-1], 3, stride=1, padding=1, count_include_pad=False)
    return torch.cat([frames[-1], grain, *(frames[1:] - frames[:-1])], dim=1)


@dataclass(frozen=True, kw_only=True)
class Videos:
    """Videos of two kinds: SEEN - 1 frames of context, then a future. A fold keeps what belongs together together."""

    frames: np.ndarray  # uint8 (m t H W 3)
    kinds: np.ndarray  # int64 (m), 0 or 1
    folds: np.ndarray  # int64 (m)

    @property
    def steps(self) -> int:
        """How many future frames there are."""
        return self.frames.shape[1] - SEEN + 1

    def at(self, videos: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Return uint8 (n s H W 3): what is seen of videos (n) when step (n), from 1 on, is the newest."""
        return self.frames[videos[:, None], steps[:, None] - 1 + np.arange(SEEN)]


def classify(
    videos: Videos,
    horizons: Sequence[int],
    *,
    seed: int,
    steps: int = STEPS,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Return whether each video is classified rightly when each of `horizons` is the newest step: bool (m h).

    Each fold is asked of a classifier that is trained on the other folds, on all steps alike.

    Raises:
        ValueError: if there is only one fold, or some folds have videos of one kind only.
    """
    folds = np.unique(videos.folds)
    if len(folds) < 2:
        raise ValueError("a classifier needs clips of at least 2 folds of episodes, one of them held out")
    right = np.zeros((len(videos.frames), len(horizons)), bool)
    for number, fold in enumerate(folds):
        held_out = np.flatnonzero(videos.folds == fold)
        others = np.flatnonzero(videos.folds != fold)
        if len(np.unique(videos.kinds[others])) < 2:
            raise ValueError("a classifier needs videos of both kinds to train on; draw more clips")
        classifier = train_classifier(videos, others, seed=seed + number, steps=steps)
        for column, horizon in enumerate(horizons):
            answers = np.array(
                [ask(classifier, videos.at(np.array([video]), np.array([horizon]))) for video in held_out]
            )
            right[held_out, column] = answers == videos.kinds[held_out]
        report(number + 1, len(folds))
    return right


def train_classifier(videos: Videos, chosen: np.ndarray, *, seed: int, steps: int = STEPS) -> Classifier:
    """Return a classifier trained on some of the videos, on crops, mirrored half of the time; repeatable by seed."""
    rng = np.random.default_rng(seed)
    by_kind = [chosen[videos.kinds[chosen] == kind] for kind in (0, 1)]
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        classifier = Classifier()
        optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
        kinds = torch.arange(BATCH) % 2  # both kinds equally often
        for _ in range(steps):
            batch = np.array([rng.choice(by_kind[kind]) for kind in kinds.tolist()])
            stacks = replace(videos, frames=_crop(videos.frames, rng)).at(
                batch, rng.integers(1, videos.steps + 1, size=BATCH)
            )
            loss = F.binary_cross_entropy_with_logits(classifier(see(stacks)), kinds.float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return classifier.eval()


@torch.inference_mode()
def ask(classifier: Classifier, stack: np.ndarray) -> int:
    """Return the kind of one stack, uint8 (1 s H W 3)."""
    return int(classifier(see(stack)).item() > 0)


def _crop(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a view of the same random part of each frame (m t H W 3), mirrored half of the time."""
    height, width = frames.shape[2:4]
    top, left = rng.integers(max(1, height - CROP + 1)), rng.integers(max(1, width - CROP + 1))
    part = frames[:, :, top : top + CROP, left : left + CROP]
    return part[:, :, :, ::-1] if rng.random() < 0.5 else part
