"""The tokenizer's numbers: recomputed by other means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.worlds import record_toy, tiny_simulator
from worldmodel.evaluation.answers import from_json, to_json
from worldmodel.evaluation.harness.clips import psnr
from worldmodel.evaluation.harness.subject import Subject
from worldmodel.evaluation.metrics.codecs import available
from worldmodel.evaluation.metrics.images import gradient_energy
from worldmodel.evaluation.questions import tokenizer
from worldmodel.rollouts import EpisodeDataset


def test_numbers(tmp_path: Path) -> None:
    """Reconstruction is measured on every frame, each codec on the last of each clip; all of it is ready for JSON."""
    subject = Subject(
        simulator=tiny_simulator(), dataset=EpisodeDataset(record_toy(tmp_path / "d")), num_clips=4, context=2
    )
    done: list[tuple[int, int]] = []
    numbers = tokenizer.measure(subject, lambda now, total: done.append((now, total)))
    clips = subject.clips(tokenizer.HORIZON)
    rebuilt = subject.simulator.tokenizer.decode(subject.simulator.tokenizer.encode(clips.frames))
    quality = psnr(rebuilt, clips.frames)
    assert numbers.scalars["psnr"].value == pytest.approx(quality.mean())
    assert numbers.scalars["psnr_moving"].value == pytest.approx(quality[clips.moving].mean())
    assert numbers.clips["psnr"] == np.round(quality, 4).tolist()
    assert numbers.scalars["frames"].value == 4 * 12
    energies = gradient_energy(rebuilt).sum() / gradient_energy(clips.frames).sum()
    assert numbers.scalars["sharpness"].value == pytest.approx(energies)
    assert numbers.scalars["bits_per_frame/uniform"].value == 64 * 4
    equal = numbers.tables["equal_bytes"]
    assert numbers.scalars["budget_bytes"].value == 32
    assert equal["tokenizer", "psnr"].value == pytest.approx(quality[:, -1].mean())
    assert equal["jpeg", "over_budget"].value == 1  # a JPEG's header alone is larger
    assert ("avif" in numbers.skipped) == (not available("AVIF"))
    assert done == [(now, 8) for now in range(1, 9)]
    assert from_json(to_json(numbers)).tables.keys() == numbers.tables.keys()
