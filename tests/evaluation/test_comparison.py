"""Two evaluations are compared on the same clips only, and chance is told from difference."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worldmodel.evaluation import comparison


def metrics(values: list[Any], **settings: Any) -> dict[str, Any]:
    """An evaluation of one part with these values clip by clip."""
    mean = float(np.mean(values))
    return {
        "schema": comparison.SCHEMA,
        "data": {"fingerprint": "d" * 64},
        "settings": {"clips": len(values), "context": 6, "seed": 0, "quick": False} | settings,
        "parts": {
            "fidelity": {
                "psnr": {"model": {"mean": [mean, mean + 2], "low": [0.0, 0.0], "high": [9.0, 9.0]}},
                "per_clip": {"model": values},
                "ok": True,
            }
        },
    }


def test_p_is_the_share_of_sign_patterns() -> None:
    """For five clips the p is what counting all 32 sign patterns gives, up to the draws; for no difference it is 1."""
    differences = np.array([0.5, 1.0, -0.25, 2.0, 0.75])
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=5)]
    exact = np.mean([value >= abs(differences.sum()) - 1e-9 for value in sums])
    assert comparison.sign_flips(differences, np.random.default_rng(0)) == pytest.approx(exact, abs=0.02)
    assert comparison.sign_flips(np.zeros(5), np.random.default_rng(0)) == 1


def test_p_is_fair_and_has_power() -> None:
    """Where there is no difference, p is below 0.05 about once in twenty; a clear difference is found."""
    rng = np.random.default_rng(0)
    p = [comparison.sign_flips(rng.normal(size=20), rng, flips=400) for _ in range(400)]
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.09
    assert comparison.sign_flips(rng.normal(1, 1, size=60), rng) < 0.001


def test_clips_are_paired() -> None:
    """A small gain on every clip is sure, however much the clips differ from one another; steps are no clips."""
    rng = np.random.default_rng(0)
    before = rng.normal(20, 5, (30, 4))
    after = before + 0.2 + rng.normal(0, 0.05, (30, 4))
    (path, pair), *rest = comparison.clip_by_clip(metrics(before.tolist()), metrics(after.tolist())).items()
    assert (path, rest) == ("fidelity/model", [])
    assert pair.difference == pytest.approx((after - before).mean())
    assert 0.1 < pair.low < 0.2 < pair.high < 0.3
    assert pair.p < 0.001


def test_shared_numbers() -> None:
    """Numbers with intervals and by step are compared by their means; what only one has, and what is none, is not."""
    first, second = metrics([1.0, 3.0]), metrics([2.0, 6.0])
    second["parts"]["speed"] = {"frames": 9.5}
    found = comparison.shared(first, second)
    assert {path: (pair.first, pair.second) for path, pair in found.items()} == {
        "fidelity/psnr/model, mean of 2 steps": (3, 5)
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": {"clips": 9, "context": 6, "seed": 0, "quick": False}}, "clips 2 and 9"),
        ({"settings": {"clips": 2, "context": 6, "seed": 7, "quick": True}}, "seed 0 and 7; quick False and True"),
        ({"data": {"fingerprint": "e" * 64}}, "data dddddddddddd and eeeeeeeeeeee"),
    ],
)
def test_other_clips_are_refused(change: dict[str, Any], said: str) -> None:
    """Other data, clips, context or seed make other clips, and the message names what differs."""
    with pytest.raises(ValueError, match=said):
        comparison.check_comparable(metrics([1.0, 2.0]), metrics([1.0, 2.0]) | change)
    comparison.check_comparable(metrics([1.0, 2.0]), metrics([1.0, 2.0], temperature=0.5))


def test_loading(tmp_path: Path) -> None:
    """A file or its directory; anything else is one clear line."""
    content = metrics([1.0, 2.0])
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    assert comparison.load(tmp_path) == comparison.load(tmp_path / "metrics.json") == content
    for text, said in (("{", "is no JSON"), ("[]", "is no metrics"), ('{"parts": {}, "schema": 1}', "has schema 1")):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(ValueError, match=said):
            comparison.load(tmp_path / "x.json")
    with pytest.raises(ValueError, match="worldmodel evaluate writes one"):
        comparison.load(tmp_path / "nothing")
