"""Answers are typed, survive JSON, and hold nothing that is no number."""

from __future__ import annotations

import json

import pytest

from worldmodel.evaluation.answers import Answer, Claim, Curve, Picture, Scalar, Series, Table, from_json, to_json

ANSWER = Answer(
    scalars={"clips": Scalar(4), "engine": Scalar("numpy"), "psnr": Scalar(30.5, 30.0, 31.0)},
    tables={"t": Table("a table", ("a", "b"), {"model": (Scalar(0.5, 0.25, 0.75), Scalar(3))})},
    series={
        "s": Series("a series", (1, 2), {"model": Curve((1.0, 2.0), (0.5, 1.5), (1.5, 2.5)), "x": Curve((3.0, 4.0))})
    },
    clips={"psnr/model": [[1.5, 2.5], [3.5, 4.5]]},
    claims=(Claim(text="x <= y", holds=False, figures={"x": 2.0}),),
    skipped={"60 steps": "no episode is as long"},
    pictures={"grid": Picture(png="abc", caption="frame 3")},
)


def test_json_and_back() -> None:
    """What was written is read again, pictures only where they are wanted; empty parts take no room."""
    assert from_json(json.loads(json.dumps(to_json(ANSWER)))) == ANSWER
    assert "pictures" not in to_json(ANSWER, pictures=False)
    assert to_json(Answer()) == {}
    assert from_json({}) == Answer()


def test_numbers_are_short_and_finite() -> None:
    """Six digits; NaN is our own mistake, and the place where it arose is named."""
    assert to_json(Answer(scalars={"x": Scalar(1 / 3)}))["scalars"] == {"x": 0.333333}
    with pytest.raises(AssertionError, match="/series/s/rows/model/1"):
        to_json(Answer(series={"s": Series("s", (1, 2), {"model": Curve((1.0, float("nan")))})}))


def test_shapes_are_checked() -> None:
    """A row fits its columns, a curve its steps."""
    with pytest.raises(AssertionError):
        Table("t", ("a", "b"), {"model": (Scalar(1),)})
    with pytest.raises(AssertionError):
        Series("s", (1, 2), {"model": Curve((1.0,))})


@pytest.mark.parametrize("content", [{"scalars": {"x": {"mean": 1}}}, {"series": {"s": {}}}, {"claims": [{"a": 1}]}])
def test_what_is_no_answer_is_refused(content: dict[str, object]) -> None:
    """A damaged file is a ValueError, not a wrong number."""
    with pytest.raises(ValueError, match="no answer"):
        from_json(content)


def test_answers_are_joined_and_looked_up() -> None:
    """Parts of one answer are put together; a table is read by names."""
    joined = ANSWER | Answer(scalars={"more": Scalar(1)}, claims=(Claim(text="z", holds=True),))
    assert list(joined.scalars) == ["clips", "engine", "psnr", "more"]
    assert [claim.text for claim in joined.claims] == ["x <= y", "z"]
    assert joined.tables["t"]["model", "b"] == Scalar(3)
    assert joined.tables["t"].column("a") == {"model": Scalar(0.5, 0.25, 0.75)}
    assert joined.series["s"].rows["x"].average == 3.5
    with pytest.raises(ValueError, match="is no number"):
        _ = joined.scalars["engine"].number


def test_a_claim_of_numpy_values_is_written_as_json() -> None:
    """What a comparison of NumPy numbers gives is a plain truth value in metrics.json."""
    import numpy as np

    claim = Claim(text="x", holds=np.float64(0.5) <= np.float64(1.0), figures={"x": np.float32(0.5)})
    answer = Answer(claims=(claim,))
    assert from_json(json.loads(json.dumps(to_json(answer)))) == answer
