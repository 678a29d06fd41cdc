"""Random numbers of a batch and of its rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worldmodel.streams import CODES, OUTCOMES, Streams


def draws(streams: Streams, batch: int, *, stream: int = CODES, rows: np.ndarray | None = None) -> torch.Tensor:
    return streams.draw((5,), torch.rand, batch=batch, stream=stream, rows=rows)


def test_a_row_depends_on_its_seed_alone() -> None:
    """A row's numbers are the same in any batch and place, and other seeds give others."""
    first, second = Streams(), Streams()
    first.seed_rows({0: 7}, batch=1)
    second.seed_rows({0: 1, 1: 2, 2: 7}, batch=3)
    alone, together = draws(first, 1), draws(second, 3)
    assert torch.equal(alone[0], together[2])
    assert not torch.equal(together[0], together[1])


def test_a_row_that_stands_still_misses_nothing() -> None:
    """Where some rows draw, the others get zeros and go on later where they were."""
    streams, other = Streams(), Streams()
    for each in (streams, other):
        each.seed_rows({0: 1, 1: 2}, batch=2)
    some, all_rows = draws(streams, 2, rows=np.array([True, False])), draws(other, 2)
    assert torch.equal(some, torch.stack([all_rows[0], torch.zeros(5)]))
    assert torch.equal(draws(streams, 2)[1], all_rows[1])


def test_codes_and_outcomes_do_not_share_numbers() -> None:
    """Drawing outcomes moves no code: both streams of a seed are their own."""
    for seeded in (lambda streams: streams.seed(3), lambda streams: streams.seed_rows({0: 3}, batch=1)):
        streams, other = Streams(), Streams()
        seeded(streams)
        seeded(other)
        draws(streams, 1, stream=OUTCOMES)
        assert torch.equal(draws(streams, 1), draws(other, 1))


def test_seeds_for_another_batch_are_an_error() -> None:
    """Rows that were given seeds are as many as the batch."""
    streams = Streams()
    streams.seed_rows({0: 1}, batch=1)
    with pytest.raises(ValueError, match="1 rows have seeds, the batch has 2"):
        draws(streams, 2)
    streams.seed(0)
    assert draws(streams, 2).shape == (2, 5)


def test_rows_draw_into_the_same_memory() -> None:
    """Step after step takes no new memory, in and out of inference mode; another batch or stream has its own."""
    streams = Streams()
    streams.seed_rows({0: 1, 1: 2}, batch=2)
    with torch.inference_mode():
        first = draws(streams, 2)
    before = first.clone()
    second = draws(streams, 2)
    assert second.data_ptr() == first.data_ptr()
    assert not torch.equal(second, before)
    assert draws(streams, 2, stream=OUTCOMES).data_ptr() != first.data_ptr()
