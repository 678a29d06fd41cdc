"""The bars are read off the answers as they are meant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from worldmodel.evaluation.answers import Answer, Curve, Scalar, Series, Table
from worldmodel.evaluation.report.bars import BARS, bars


def series(**rows: float | list[float]) -> Series:
    """Return ten steps of each row: a list as it is, or one number throughout."""
    curves = {row: Curve(tuple(value if isinstance(value, list) else [value] * 10)) for row, value in rows.items()}
    return Series("x", tuple(range(1, 11)), curves)


def table(columns: tuple[str, ...], **rows: tuple[float, ...]) -> Table:
    return Table("x", columns, {row: tuple(map(Scalar, values)) for row, values in rows.items()})


def answers() -> dict[str, Answer]:
    """A world model that just meets every bar."""
    facts = {"psnr_moving": 33.0, "codes_used": 512, "codebook_size": 512, "commonest_code": 0.09}
    return {
        "tokenizer": Answer(
            scalars={name: Scalar(value) for name, value in facts.items()},
            tables={"equal_bytes": table(("psnr_moving",), tokenizer=(32.0,), webp=(32.0,))},
        ),
        "objects": Answer(scalars={"found": Scalar(0.99)}),
        "fidelity": Answer(
            series={"10/psnr": series(reconstruction=[33.0] * 9 + [37.0], model=28.0, without_map=26.0, copy_last=22.0)}
        ),
        "changes": Answer(series={"error_ratio": series(model=0.5)}),
        "control": Answer(
            tables={"counterfactuals": table(("top1",), model=(0.9,), without_map=(0.6,))},
            series={"delta_psnr": series(model=3.0)},
        ),
        "stability": Answer(series={"300/own_nats_over_real": series(model=[2.0] * 9 + [1.1])}),
        "idle": Answer(series={"psnr_to_tenth": series(model=30.0)}),
        "there_and_back": Answer(tables={"return": table(("median", "worst"), model=(30.0, 20.0))}),
        "speed": Answer(tables={"frames_per_second": table(("median",), batch_1=(8.75,))}),
    }


def met(found: dict[str, Answer], name: str) -> bool | None:
    (bar,) = (bar for bar in bars(found) if bar.name.startswith(name))
    return bar.met


def test_what_meets_every_bar_meets_every_bar() -> None:
    """At the limit a bar is met, and what is measured elsewhere is not claimed."""
    found = bars(answers())
    assert {bar.met for bar in found} == {True, None}
    assert sum(bar.met is None for bar in found) == 3


@pytest.mark.parametrize(
    ("question", "worse", "name"),
    [
        (
            "tokenizer",
            Answer(tables={"equal_bytes": table(("psnr_moving",), tokenizer=(32.0,), webp=(32.1,))}),
            "token",
        ),
        ("tokenizer", Answer(scalars={"codes_used": Scalar(511)}), "codes"),
        ("tokenizer", Answer(scalars={"commonest_code": Scalar(0.1)}), "codes"),
        ("objects", Answer(scalars={"found": Scalar(0.98)}), "small"),
        ("fidelity", Answer(series={"10/psnr": series(model=28.0, copy_last=[22.0] * 4 + [22.1] * 6)}), "model above"),
        ("fidelity", Answer(series={"10/psnr": series(reconstruction=33.1, model=28.0)}), "below"),
        ("fidelity", Answer(series={"10/psnr": series(without_map=25.9, copy_last=22.0)}), "model without map"),
        ("changes", Answer(series={"error_ratio": series(model=0.51)}), "error on changed"),
        ("control", Answer(tables={"counterfactuals": table(("top1",), model=(0.89,))}), "counterfactual"),
        ("control", Answer(tables={"counterfactuals": table(("top1",), without_map=(0.59,))}), "the same"),
        ("control", Answer(series={"delta_psnr": series(model=2.9)}), "delta"),
        ("stability", Answer(series={"300/own_nats_over_real": series(model=0.89)}), "NLL"),
        ("stability", Answer(series={"300/own_nats_over_real": series(model=1.11)}), "NLL"),
        ("idle", Answer(series={"psnr_to_tenth": series(model=29.9)}), "idle"),
        ("there_and_back", Answer(tables={"return": table(("median", "worst"), model=(31.0, 19.0))}), "there"),
        ("speed", Answer(tables={"frames_per_second": table(("median",), batch_1=(8.7,))}), "imagine"),
    ],
)
def test_each_bar_can_be_missed(question: str, worse: Answer, name: str) -> None:
    """A little worse in one number, and that bar is missed."""
    found = answers()
    found[question] |= worse
    assert met(found, name) is False


def test_what_was_not_asked_is_not_claimed() -> None:
    """Without an answer its bars are neither met nor missed, nor where part of it was skipped."""
    found = bars({})
    assert len(found) == len(BARS)
    assert {bar.met for bar in found} == {None}
    skipped = answers()
    skipped["control"] = replace(skipped["control"], tables={}, skipped={"counterfactuals": "no engine"})
    assert met(skipped, "counterfactual") is None
    assert met({**answers(), "fidelity": Answer(series={"10/psnr": series(model=28.0)})}, "model without") is None
