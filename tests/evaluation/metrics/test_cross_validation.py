"""The probes of all folds: none is asked about what it was trained on, and what is kept is what was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worlds import record_toy
from worldmodel.evaluation.harness.clips import draw_clips
from worldmodel.evaluation.harness.subject import Recordings
from worldmodel.evaluation.metrics import cross_validation as module
from worldmodel.evaluation.metrics import probe
from worldmodel.evaluation.metrics.cross_validation import probes_for, train_probes
from worldmodel.evaluation.metrics.probe import Examples, Probe
from worldmodel.rollouts import EpisodeDataset


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EpisodeDataset:
    """The toy world, on which probes are trained as briefly as can be."""
    monkeypatch.setattr(probe, "STEPS", 2)
    return EpisodeDataset(record_toy(tmp_path / "data", episodes=4))


@pytest.fixture
def trained_on(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """The episodes that each probe was trained on."""
    found: list[set[int]] = []

    def spy(examples: Examples, *args: object, **options: object) -> Probe:
        found.append(set(examples.episodes.tolist()))
        return probe.train_probe(examples, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "train_probe", spy)
    return found


def test_no_probe_is_asked_about_its_own_episodes(
    dataset: EpisodeDataset, trained_on: list[set[int]], tmp_path: Path
) -> None:
    """Each clip's fold is the one whose probe was trained on the other episodes; the same seed, the same probe."""
    state = torch.get_rng_state()
    probes = train_probes(dataset, seed=0)
    torch.testing.assert_close(torch.get_rng_state(), state)
    clips = draw_clips(dataset, frames=4, number=8, seed=0)
    for (episode, _), fold in zip(clips.places, probes.folds(clips), strict=True):
        assert episode not in trained_on[fold]
    assert set.union(*trained_on) == {0, 1, 2, 3}
    labels = probes.label(clips.frames, probes.folds(clips))
    assert labels.shape == (8, 2)
    np.testing.assert_array_equal(train_probes(dataset, seed=0).label(clips.frames, probes.folds(clips)), labels)
    single = EpisodeDataset(record_toy(tmp_path / "single", episodes=1))
    with pytest.raises(ValueError, match="at least 2 episodes"):
        train_probes(single, seed=0)


def test_a_panel_is_trained_once(dataset: EpisodeDataset, trained_on: list[set[int]], tmp_path: Path) -> None:
    """A second question takes the same probes from the disk; another seed, or a damaged file, trains them anew."""
    subject = Recordings(dataset=dataset, cache=tmp_path / "parts")
    first = probes_for(subject)
    again = probes_for(subject)
    assert len(trained_on) == 3
    for ours, theirs in zip(first.probes, again.probes, strict=True):
        assert not theirs.training
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    (file,) = (tmp_path / "parts").glob("probe-*.safetensors")
    file.write_bytes(file.read_bytes()[:-9])
    probes_for(subject)
    assert len(trained_on) == 6
    probes_for(Recordings(dataset=dataset, cache=tmp_path / "parts", seed=1))
    assert len(trained_on) == 9


def test_a_quick_look_trains_its_probes_as_long(dataset: EpisodeDataset) -> None:
    """It draws fewer examples and saves no steps: a probe that is not yet able to read says nothing."""
    reported: list[tuple[int, int]] = []
    train_probes(dataset, seed=0, quick=True, report=lambda *done: reported.append(done))
    assert reported[-1] == (module.FOLDS * probe.STEPS,) * 2
