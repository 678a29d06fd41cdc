"""Random streams of imagination: of codes and of outcomes, for the whole batch or for each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

CODES, OUTCOMES = 0, 1  # the streams: who asks for outcomes sees the same frames as who does not


class Streams:
    """Two random streams, of codes and of outcomes."""

    def __init__(self) -> None:
        self._of_batch = torch.Generator(), torch.Generator()
        self._of_rows: list[tuple[torch.Generator, torch.Generator]] | None = None

    def seed(self, seed: int) -> None:
        """Make what follows repeatable, for the whole batch together."""
        for generator in self._of_batch:
            generator.manual_seed(seed)
        self._of_rows = None

    def seed_rows(self, seeds: Mapping[int, int], *, batch: int) -> None:
        """Give each of some rows (number -> seed) random numbers of its own, which do not depend on the batch."""
        if self._of_rows is None or len(self._of_rows) != batch:
            self._of_rows = [(torch.Generator(), torch.Generator()) for _ in range(batch)]
        for row, seed in seeds.items():
            for generator, own in zip(
                self._of_rows[row], np.random.SeedSequence(seed).generate_state(2, np.uint64), strict=True
            ):
                generator.manual_seed(int(own))

    def draw(
        self,
        shape: tuple[int, ...],
        draw: Callable[..., Tensor],
        *,
        batch: int,
        stream: int,
        rows: np.ndarray | None = None,
    ) -> Tensor:
        """Return random numbers (b ...) of each row's own stream, or of the batch's; zeros for rows that draw none.

        Args:
            shape: of a row.
            draw: is called with a shape and `generator`.
            batch: b.
            stream: CODES or OUTCOMES.
            rows: bool (b), which rows draw; None for all.
        """
        if self._of_rows is None:
            return draw((batch, *shape), generator=self._of_batch[stream])
        if len(self._of_rows) != batch:
            raise ValueError(f"{len(self._of_rows)} rows have seeds, the batch has {batch}")
        numbers = torch.zeros(batch, *shape)
        for row, generators in enumerate(self._of_rows):
            if rows is None or rows[row]:
                numbers[row] = draw(shape, generator=generators[stream])
        return numbers
