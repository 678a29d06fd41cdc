"""Random streams: of the batch or of each row, and codes apart from outcomes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worldmodel.streams import CODES, OUTCOMES, Streams


def numbers(streams: Streams, *, batch: int, stream: int = CODES, rows: np.ndarray | None = None) -> torch.Tensor:
    return streams.draw((3,), torch.rand, batch=batch, stream=stream, rows=rows)


def test_outcomes_take_nothing_from_codes() -> None:
    """Whoever draws outcomes sees the same codes as who does not."""
    with_outcomes, without = Streams(), Streams()
    for streams in (with_outcomes, without):
        streams.seed(3)
    numbers(with_outcomes, batch=2, stream=OUTCOMES)
    assert torch.equal(numbers(with_outcomes, batch=2), numbers(without, batch=2))


def test_a_row_does_not_depend_on_its_batch() -> None:
    """The same seed gives the same numbers in any row of any batch, also if others draw none."""
    few, many = Streams(), Streams()
    few.seed_rows({0: 5}, batch=1)
    many.seed_rows({0: 1, 2: 5}, batch=3)
    here = np.array([False, False, True])
    for _ in range(2):
        drawn = numbers(many, batch=3, rows=here)
        assert torch.equal(numbers(few, batch=1)[0], drawn[2])
        assert not drawn[:2].any()
    with pytest.raises(ValueError, match="1 rows have seeds, the batch has 4"):
        numbers(few, batch=4)
