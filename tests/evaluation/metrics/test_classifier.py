"""The classifier finds what differs, finds nothing where nothing differs, and is never asked what it was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worlds import record_toy
from worldmodel.evaluation.harness.clips import draw_clips
from worldmodel.evaluation.metrics import classifier
from worldmodel.evaluation.metrics.classifier import SEEN, Classifier, Videos, classify, see
from worldmodel.rollouts import EpisodeDataset


@pytest.fixture
def real(tmp_path: Path) -> np.ndarray:
    dataset = EpisodeDataset(record_toy(tmp_path / "data", episodes=3))
    return draw_clips(dataset, frames=SEEN + 1, number=24, seed=0).frames


def test_noise_is_told_from_real(real: np.ndarray) -> None:
    """Videos with noise in their future are told from those without, in videos never seen."""
    noise = np.random.default_rng(0).integers(-60, 61, real.shape)
    noise[:, : SEEN - 1] = 0
    noisy = np.clip(real + noise, 0, 255).astype(np.uint8)
    videos = Videos(
        frames=np.concatenate([real, noisy]), kinds=np.arange(48) // 24, folds=np.tile(np.arange(24) % 2, 2)
    )
    right = classify(videos, (1, 2), seed=0, steps=60)
    assert right.shape == (48, 2)
    assert right.mean() > 0.9


def test_two_halves_of_the_same_are_not_distinguishable(real: np.ndarray) -> None:
    """Where a coin has said which kind a video is, the accuracy is within three standard deviations of a half."""
    rng = np.random.default_rng(0)
    videos = Videos(frames=real, kinds=rng.permutation(24) % 2, folds=np.arange(24) % 2)
    right = classify(videos, (1,), seed=0, steps=20)
    assert abs(right.mean() - 0.5) <= 3 * 0.5 / np.sqrt(24)


def test_no_clip_is_asked_about_after_training_on_it(real: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """A classifier is trained on the other folds alone, and asked about each video of its own fold at each horizon."""
    trained: list[set[int]] = []
    asked: list[tuple[int, int]] = []

    def train(videos: Videos, chosen: np.ndarray, *, seed: int, steps: int) -> Classifier:
        trained.append(set(videos.folds[chosen].tolist()))
        return Classifier()

    def ask(classifier: Classifier, stack: np.ndarray) -> int:
        asked.append((len(trained) - 1, int(stack[0, 0, 0, 0, 0])))
        return 1

    monkeypatch.setattr(classifier, "train_classifier", train)
    monkeypatch.setattr(classifier, "ask", ask)
    frames = np.broadcast_to(np.arange(6, dtype=np.uint8)[:, None, None, None, None], (6, SEEN + 1, 4, 4, 3))
    videos = Videos(frames=frames, kinds=np.array([0, 1, 0, 1, 0, 1]), folds=np.array([0, 0, 1, 1, 2, 2]))
    right = classify(videos, (1, 2), seed=0)
    assert trained == [{1, 2}, {0, 2}, {0, 1}]
    assert sorted(asked) == sorted((video // 2, video) for video in range(6) for _ in range(2))
    assert right.tolist() == [[False] * 2, [True] * 2] * 3
    with pytest.raises(ValueError, match="at least 2 folds"):
        classify(Videos(frames=frames, kinds=videos.kinds, folds=np.zeros(6, np.int64)), (1,), seed=0)
    with pytest.raises(ValueError, match="videos of both kinds"):
        classify(Videos(frames=frames, kinds=videos.folds % 2, folds=videos.folds // 2), (1,), seed=0)


def test_newest_frame_is_the_asked_step() -> None:
    """At step 1 a single future frame is seen, after the context; changes are those between neighbours."""
    frames = np.broadcast_to(np.arange(5, dtype=np.uint8)[None, :, None, None, None] * 50, (1, 5, 2, 2, 3))
    videos = Videos(frames=frames, kinds=np.zeros(1, np.int64), folds=np.zeros(1, np.int64))
    assert videos.steps == 2
    stacks = videos.at(np.array([0, 0]), np.array([1, 2]))
    assert stacks[:, :, 0, 0, 0].tolist() == [[0, 50, 100, 150], [50, 100, 150, 200]]
    seen = see(stacks)
    torch.testing.assert_close(seen[1, :3], torch.full((3, 2, 2), 200 / 127.5 - 1))
    torch.testing.assert_close(seen[1, 3:6], torch.zeros(3, 2, 2))  # a single colour has no grain
    torch.testing.assert_close(seen[1, 6:], torch.full((9, 2, 2), 50 / 127.5))
