"""The random numbers of a simulator: a stream for the batch, or one for each of its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from .dynamics.threads import in_threads

CODES, OUTCOMES = 0, 1  # a stream each: asking for outcomes does not change the codes


class Streams:
    """Random numbers for codes and for outcomes."""

    def __init__(self) -> None:
        self._batch = (torch.Generator(), torch.Generator())
        self._rows: list[tuple[torch.Generator, torch.Generator]] | None = None
        self._memory: dict[int, Tensor] = {}  # stream -> what its last numbers are in

    def seed(self, seed: int) -> None:
        """Draw what follows for the batch as a whole, from here."""
        for generator in self._batch:
            generator.manual_seed(seed)
        self._rows = None

    def seed_rows(self, seeds: Mapping[int, int], *, batch: int) -> None:
        """Give each of some rows (number -> seed) random numbers of its own, which do not depend on the batch."""
        if self._rows is None or len(self._rows) != batch:
            self._rows = [(torch.Generator(), torch.Generator()) for _ in range(batch)]
        for row, seed in seeds.items():
            states = np.random.SeedSequence(seed).generate_state(2, np.uint64)
            for generator, state in zip(self._rows[row], states, strict=True):
                generator.manual_seed(int(state))

    def draw(
        self,
        shape: tuple[int, ...],
        distribution: Callable[..., Tensor],
        *,
        batch: int,
        stream: int,
        rows: np.ndarray | None = None,
    ) -> Tensor:
        """Return random numbers (batch ...) of `distribution(shape, generator=...)`, to be used before the next draw.

        Rows that were given seeds are drawn into the memory of the last draw: those of 16 games take 32 MiB.

        Args:
            stream: CODES or OUTCOMES.
            rows: bool (batch), which rows draw; the others' streams stand still, and their numbers are 0.

        Raises:
            ValueError: if rows were given seeds for a batch of another size.
        """
        if self._rows is None:
            return distribution((batch, *shape), generator=self._batch[stream])
        if len(self._rows) != batch:
            raise ValueError(f"{len(self._rows)} rows have seeds, the batch has {batch}")
        numbers, generators = self._room((batch, *shape), stream), self._rows

        def fill(some: slice) -> None:
            for row in range(some.start, some.stop):
                drawn = rows is None or rows[row]
                numbers[row] = distribution(shape, generator=generators[row][stream]) if drawn else 0

        in_threads(fill, batch)
        return numbers

    def _room(self, shape: tuple[int, ...], stream: int) -> Tensor:
        found = self._memory.get(stream)
        if found is None or found.shape != shape:
            with torch.inference_mode(False):  # or it could be written to in that mode alone
                found = self._memory[stream] = torch.empty(shape)
        return found
