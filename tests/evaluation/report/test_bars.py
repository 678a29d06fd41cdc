"""The bars are read off the numbers as they are meant."""

from __future__ import annotations

from typing import Any

import pytest

from worldmodel.evaluation.report.bars import BARS, bars


def interval(mean: Any) -> dict[str, Any]:
    return {"mean": mean, "low": mean, "high": mean}


def parts() -> dict[str, Any]:
    """A world model that just meets every bar."""
    return {
        "tokenizer": {
            "psnr_moving": interval(33.0),
            "codes_used": 512,
            "commonest_code": 0.09,
            "equal_bytes": {"psnr_moving": {"tokenizer": interval(32.0), "jpeg": interval(32.0)}},
        },
        "fidelity": {
            "horizons": {
                "10": {
                    "psnr": {
                        "reconstruction": interval([33.0] * 10),
                        "model": interval([28.0] * 9 + [23.0]),
                        "copy_last": interval([25.0] * 9 + [20.0]),
                    }
                }
            }
        },
        "control": {
            "delta_psnr": {"model": interval([0.0, 0.0, 0.0, 3.0])},
            "counterfactual": {"chance": 0.125, "rows": {"model": {"top1": interval(0.9)}}},
        },
        "stability": {"horizons": {"300": {"own_nats_over_real": interval([1.0, 2.0, 1.1])}}},
        "speed": {"frames_per_second": {"batch_1": {"median": 8.75}}},
    }


def met(found: dict[str, Any], name: str) -> bool | None:
    (bar,) = (bar for bar in bars({"parts": found}) if bar.name.startswith(name))
    return bar.met


def test_what_meets_every_bar_meets_every_bar() -> None:
    """At the limit a bar is met, and what is measured elsewhere is not claimed."""
    assert {bar.met for bar in bars({"parts": parts()})} == {True, None}


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        ("tokenizer/psnr_moving", 32.9, "tokenizer"),
        ("tokenizer/equal_bytes/psnr_moving/jpeg", 32.1, "tokenizer"),
        ("tokenizer/codes_used", 511, "codes"),
        ("tokenizer/commonest_code", 0.1, "codes"),
        ("fidelity/horizons/10/psnr/copy_last", [24.0] * 4 + [25.1] + [20.0] * 5, "model above"),
        ("fidelity/horizons/10/psnr/reconstruction", [33.1] * 10, "below"),
        ("control/counterfactual/rows/model/top1", 0.89, "counterfactual"),
        ("control/delta_psnr/model", [9.0, 9.0, 9.0, 2.9], "delta"),
        ("stability/horizons/300/own_nats_over_real", [1.0, 1.0, 0.89], "NLL"),
        ("stability/horizons/300/own_nats_over_real", [1.0, 1.0, 1.11], "NLL"),
        ("speed/frames_per_second/batch_1/median", 8.7, "imagine"),
    ],
)
def test_each_bar_can_be_missed(path: str, value: Any, name: str) -> None:
    """A little worse in one number, and that bar is missed."""
    found = parts()
    *above, last = path.split("/")
    place: Any = found
    for step in above:
        place = place[step]
    place[last] = interval(value) if isinstance(place[last], dict) else value
    assert met(found, name) is False


def test_what_was_not_asked_is_not_claimed() -> None:
    """Without a part its bars are neither met nor missed."""
    found = bars({"parts": {}})
    assert len(found) == len(BARS)
    assert {bar.met for bar in found} == {None}
    skipped = parts()
    skipped["control"]["counterfactual"] = {"skipped": "no engine"}
    assert met(skipped, "counterfactual") is None
