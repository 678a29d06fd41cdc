"""What a simulator knows at the last frame of a past: the KV cache and the expectation model's state."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from torch import Tensor

from .dynamics.cache import ContextCache


class Past(NamedTuple):
    """What is known at the last frame of a past that was taken in."""

    cache: ContextCache  # of the frames before the last
    expectation_state: Any  # the expectation model's state; None without one

    def repeat(self, rows: Tensor) -> Past:
        """Return a past of m rows in which row i is a copy of row `rows[i]`, rows (m)."""
        cache = copy.deepcopy(self.cache)
        cache.repeat(rows)
        return Past(cache, None if self.expectation_state is None else self.expectation_state.repeat(rows))

    def put(self, rows: Tensor, other: Past, *, batch: int) -> Past:
        """Return what is known if some of `batch` rows (m) go on from `other`. The cache takes them in."""
        self.cache.put(rows, other.cache, batch=batch)
        return Past(
            self.cache,
            None if self.expectation_state is None else self.expectation_state.put(rows, other.expectation_state),
        )
