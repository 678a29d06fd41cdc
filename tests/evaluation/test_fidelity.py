"""Fidelity and the tokenizer's quality: known frames give known numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.worlds import record_toy, tiny_simulator
from worldmodel.evaluation.clips import Clips, draw_clips, psnr
from worldmodel.evaluation.fidelity import ROWS, evaluate_fidelity
from worldmodel.evaluation.tokenizer import evaluate_tokenizer
from worldmodel.rollouts import EpisodeDataset


def test_psnr_by_hand() -> None:
    """One grey level of error everywhere is 48.13 dB; black against white is 0 dB."""
    black = np.zeros((2, 4, 4, 3), np.uint8)
    np.testing.assert_allclose(psnr(black + 1, black), 20 * np.log10(255))
    np.testing.assert_allclose(psnr(black + 255, black), 0)
    np.testing.assert_allclose(psnr(black, black), 20 * np.log10(255))


def test_clips_are_repeatable_and_aligned(tmp_path: Path) -> None:
    """The same seed draws the same clips, and each clip's frames and actions stand together in the recording."""
    dataset = EpisodeDataset(record_toy(tmp_path / "d"))
    first, second, other = (draw_clips(dataset, frames=5, number=6, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.frames, second.frames)
    assert not np.array_equal(first.frames, other.frames)
    episodes = [dataset.episode(i) for i in range(len(dataset))]
    for frames, actions in zip(first.frames, first.actions, strict=True):
        places = [
            (e, t) for e in episodes for t in range(len(e.frames) - 4) if np.array_equal(e.frames[t : t + 5], frames)
        ]
        assert any(np.array_equal(e.actions[t : t + 4], actions) for e, t in places)


def test_moving_clips_are_those_that_change_more() -> None:
    """A clip that stands still is not moving; one that flickers is."""
    still = np.zeros((2, 3, 4, 4, 3), np.uint8)
    still[1, 1] = 100
    assert Clips(still, np.zeros((2, 2), np.int64)).moving.tolist() == [False, True]


def test_rows_are_what_they_say(tmp_path: Path) -> None:
    """Copy-last and reconstruction are recomputed here by other means; all rows have a number for each step."""
    dataset = EpisodeDataset(record_toy(tmp_path / "d"))
    simulator = tiny_simulator()
    clips = draw_clips(dataset, frames=7, number=10, seed=0)
    done: list[int] = []
    numbers = evaluate_fidelity(simulator, clips, context=4, on_clips=done.append)
    assert sum(done) == numbers["clips"] == 10
    assert tuple(numbers["psnr"]) == ROWS
    assert all(len(values) == 3 for values in numbers["psnr"].values())
    copy = np.stack([psnr(clips.frames[:, 3], clips.frames[:, t]) for t in (4, 5, 6)], axis=1)
    assert numbers["psnr"]["copy_last"] == pytest.approx(copy.mean(0).tolist())
    assert numbers["psnr_moving"]["copy_last"] == pytest.approx(copy[clips.moving].mean(0).tolist())
    again = evaluate_fidelity(simulator, clips, context=4)
    assert again == numbers


def test_tokenizer_numbers(tmp_path: Path) -> None:
    """Reconstruction is measured on every frame, and the shares of the codes are a distribution's."""
    dataset = EpisodeDataset(record_toy(tmp_path / "d"))
    simulator = tiny_simulator()
    clips = draw_clips(dataset, frames=4, number=5, seed=0)
    numbers = evaluate_tokenizer(simulator, clips)
    rebuilt = simulator.tokenizer.decode(simulator.tokenizer.encode(clips.frames))
    assert numbers["psnr"] == pytest.approx(psnr(rebuilt, clips.frames).mean())
    assert numbers["frames"] == 20
    assert 1 <= numbers["perplexity"] <= numbers["codes_used"] <= 16
    assert numbers["commonest_code"] >= 1 / numbers["codes_used"]
