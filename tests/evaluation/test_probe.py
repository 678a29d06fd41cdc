"""The inverse-dynamics probe: it sees the right frames, is never asked about what it was trained on, and it works."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worlds import record_toy
from worldmodel.evaluation import probe
from worldmodel.evaluation.clips import draw_clips
from worldmodel.evaluation.probe import (
    Examples,
    confusions,
    draw_examples,
    macro_f1,
    mirror_name,
    mirrored,
    recoloured,
    see,
    train_panel,
    train_probe,
)
from worldmodel.rollouts import EpisodeDataset


def test_examples_are_aligned(tmp_path: Path) -> None:
    """The action of an example is the one chosen at the middle frame; all of an episode's are drawn, once each."""
    dataset = EpisodeDataset(record_toy(tmp_path / "data", episodes=2))
    drawn = draw_examples(dataset, [1], number=1000, seed=0)
    episode = dataset.episode(1)
    starts = range(len(episode.frames) - 2)
    expected = {(see(episode.frames[None, t : t + 3]).numpy().tobytes(), int(episode.actions[t + 1])) for t in starts}
    found = {(seen.numpy().tobytes(), int(action)) for seen, action in zip(drawn.seen, drawn.actions, strict=True)}
    assert found == expected
    assert len(drawn.actions) == len(starts)
    assert len(draw_examples(dataset, [0, 1], number=7, seed=0).actions) == 7


def test_mirror_exchanges_left_and_right() -> None:
    """A name mirrored twice is itself; where a mirror image has no name, nothing is mirrored."""
    names = ("noop", "left", "right", "forward+left", "forward+right", "strafe_left", "strafe_right")
    assert [mirror_name(name) for name in names] == [names[i] for i in (0, 2, 1, 4, 3, 6, 5)]
    examples = Examples(seen=torch.randn(2, 9, 4, 4), actions=torch.tensor([0, 5]))
    both = mirrored(examples, names)
    assert both.actions.tolist() == [0, 5, 0, 6]
    torch.testing.assert_close(both.seen[2:], examples.seen.flip(-1))
    assert mirrored(examples, ("noop", "left")) is examples


def test_what_stands_still_does_so_in_any_colour() -> None:
    """Recolouring changes no place: where nothing changed between the frames, nothing changes after it."""
    still = see(np.repeat(np.random.default_rng(0).integers(0, 256, (2, 1, 8, 8, 3), dtype=np.uint8), 3, axis=1))
    torch.manual_seed(0)
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


def test_no_probe_is_asked_about_its_own_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each clip's fold is the one whose probe was trained on the other episodes; the same seed, the same probe."""
    dataset = EpisodeDataset(record_toy(tmp_path / "data", episodes=4))
    trained_on: list[list[int]] = []
    monkeypatch.setattr(probe, "STEPS", 2)
    draw = draw_examples

    def spy(dataset: EpisodeDataset, episodes: list[int], *, number: int, seed: int) -> Examples:
        trained_on.append(list(episodes))
        return draw(dataset, episodes, number=number, seed=seed)

    monkeypatch.setattr(probe, "draw_examples", spy)
    state = torch.get_rng_state()
    panel = train_panel(dataset, seed=0)
    torch.testing.assert_close(torch.get_rng_state(), state)
    clips = draw_clips(dataset, frames=4, number=8, seed=0)
    for (episode, _), fold in zip(clips.places, panel.folds(clips), strict=True):
        assert episode not in trained_on[fold]
    assert sorted({e for episodes in trained_on for e in episodes}) == [0, 1, 2, 3]
    labels = panel.label(clips.frames, panel.folds(clips))
    assert labels.shape == (8, 2)
    np.testing.assert_array_equal(train_panel(dataset, seed=0).label(clips.frames, panel.folds(clips)), labels)
    single = EpisodeDataset(record_toy(tmp_path / "single", episodes=1))
    with pytest.raises(ValueError, match="at least 2 episodes"):
        train_panel(single, seed=0)


@pytest.mark.slow
def test_probe_reads_the_toy_world(tmp_path: Path) -> None:
    """Turns and steps are read off an episode that was never seen, after brief training: chance is 0.25."""
    dataset = EpisodeDataset(record_toy(tmp_path / "data", episodes=6))
    trained = train_probe(draw_examples(dataset, [0, 1, 2, 3, 4], number=999, seed=0), 4, seed=0, steps=100)
    unseen = draw_examples(dataset, [5], number=999, seed=0)
    with torch.inference_mode():
        labels = trained(unseen.seen).argmax(-1).numpy()
    assert macro_f1(confusions(unseen.actions.numpy()[None], labels[None], 4))[0] > 0.6
