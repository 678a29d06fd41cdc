"""The inverse-dynamics probe: it sees the right frames, is never asked about what it was trained on, and it works."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worlds import record_toy
from worldmodel.evaluation.metrics.probe import (
    confusions,
    draw_examples,
    macro_f1,
    mirror_images,
    mirror_name,
    recoloured,
    see,
    shrink,
    stacked,
    train_probe,
)
from worldmodel.rollouts import EpisodeDataset


def test_examples_are_aligned(tmp_path: Path) -> None:
    """The action of an example is the one chosen at the middle frame; all of an episode's are drawn, once each."""
    dataset = EpisodeDataset(record_toy(tmp_path / "data", episodes=2))
    drawn = draw_examples(dataset, number=1000, seed=0)
    expected = set()
    for index in (0, 1):
        episode = dataset.episode(index)
        stacks = stacked(shrink(episode.frames))
        assert len(stacks) == len(episode.frames) - 2
        expected |= {(stack.numpy().tobytes(), int(episode.actions[t + 1]), index) for t, stack in enumerate(stacks)}
    found = zip(drawn.stacks, drawn.actions, drawn.episodes, strict=True)
    assert {(stack.numpy().tobytes(), int(action), int(episode)) for stack, action, episode in found} == expected
    assert len(drawn.actions) == dataset.lengths.sum() - 4
    assert len(draw_examples(dataset, number=7, seed=0).actions) == 7
    only = drawn.of(drawn.episodes == 1)
    assert len(only.stacks) == len(only.actions) == dataset.lengths[1] - 2


def test_mirror_exchanges_left_and_right() -> None:
    """A name mirrored twice is itself; where a mirror image has no name, nothing is mirrored."""
    names = ("noop", "left", "right", "forward+left", "forward+right", "strafe_left", "strafe_right")
    assert [mirror_name(name) for name in names] == [names[i] for i in (0, 2, 1, 4, 3, 6, 5)]
    assert mirror_images(names).tolist() == [0, 2, 1, 4, 3, 6, 5]
    assert mirror_images(("noop", "left")).tolist() == [0, 1]


def test_what_stands_still_does_so_in_any_colour() -> None:
    """Recolouring changes no place: where nothing changed between the frames, nothing changes after it."""
    torch.manual_seed(0)
    still = see(torch.randint(256, (2, 1, 3, 8, 8), dtype=torch.uint8).repeat(1, 3, 1, 1, 1))
    again = recoloured(still)
    assert not torch.allclose(again[:, :3], still[:, :3])
    assert again[:, 3:].abs().max() == 0


def test_f1_by_hand() -> None:
    """Two of three right for one action, one of two for the other; an action that never occurs does not count."""
    asked, answered = np.array([[0, 0, 0, 1, 1]]), np.array([[0, 0, 1, 1, 0]])
    counts = confusions(asked, answered, 3)
    assert counts.tolist() == [[[2, 1, 0], [1, 1, 0], [0, 0, 0]]]
    assert macro_f1(counts)[0] == pytest.approx((4 / 6 + 2 / 4) / 2)
    assert macro_f1(np.zeros((3, 3), np.int64)) == 0
    assert confusions(np.array([[-1, 0]]), np.array([[2, 0]]), 3).sum() == 1


@pytest.mark.slow
def test_probe_reads_the_toy_world(tmp_path: Path) -> None:
    """Turns and steps are read off an episode that was never seen, after brief training: chance is 0.25."""
    dataset = EpisodeDataset(record_toy(tmp_path / "data", episodes=6))
    drawn = draw_examples(dataset, number=9999, seed=0)
    trained = train_probe(drawn.of(drawn.episodes < 5), dataset.info.action_names, seed=0, steps=100)
    unseen = drawn.of(drawn.episodes == 5)
    with torch.inference_mode():
        labels = trained(see(unseen.stacks)).argmax(-1).numpy()
    assert macro_f1(confusions(unseen.actions.numpy()[None], labels[None], 4))[0] > 0.6
