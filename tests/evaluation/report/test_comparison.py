"""Two evaluations are compared on the same clips only, and chance is told from difference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worldmodel.evaluation.answers import Answer, Curve, Scalar, Series, to_json
from worldmodel.evaluation.report import comparison


def metrics(values: list[Any], **settings: Any) -> dict[str, Any]:
    """An evaluation of one part with these values clip by clip."""
    mean = float(np.mean(values))
    return {
        "schema": comparison.SCHEMA,
        "data": {"fingerprint": "d" * 64},
        "settings": {"clips": len(values), "context": 6, "seed": 0, "quick": False} | settings,
        "answers": {
            "fidelity": to_json(
                Answer(
                    scalars={"engine": Scalar("numpy")},
                    series={"psnr": Series("PSNR", (1, 2), {"model": Curve((mean, mean + 2))})},
                    clips={"model": values},
                )
            )
        },
    }


def test_clips_are_paired() -> None:
    """A small gain on every clip is sure, however much the clips differ from one another; steps are no clips."""
    rng = np.random.default_rng(0)
    before = rng.normal(20, 5, (30, 4))
    after = before + 0.2 + rng.normal(0, 0.05, (30, 4))
    (path, pair), *rest = comparison.clip_by_clip(metrics(before.tolist()), metrics(after.tolist())).items()
    assert (path, rest) == ("fidelity/model", [])
    assert pair.difference == pytest.approx((after - before).mean(), abs=1e-4)
    assert 0.1 < pair.low < 0.2 < pair.high < 0.3
    assert pair.p < 0.001


def test_a_single_video_has_no_pairs() -> None:
    """What was measured on one clip alone says nothing about chance, so it is not among the pairs."""
    assert comparison.clip_by_clip(metrics([[1.0, 2.0]]), metrics([[3.0, 4.0]])) == {}


def test_shared_numbers() -> None:
    """Numbers with intervals and by step are compared by their means; what only one has, and what is none, is not."""
    first, second = metrics([1.0, 3.0]), metrics([2.0, 6.0])
    second["answers"]["speed"] = {"scalars": {"frames": 9.5}}
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
