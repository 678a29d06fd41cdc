"""The KV cache: keys and values of the frames in the window, and nothing older."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..types import UNKNOWN_ACTION


class ContextCache:
    """Keys and values of each layer for the newest `window` frames; the slot of a frame that is too old is used again.

    Ages are relative, so no entry has to be computed again when the window moves, and nothing is moved or allocated
    after the first frame.
    """

    def __init__(self, layers: int, window: int) -> None:
        self.window = window
        self.last: Tensor | None = None  # the last frame's patches
        self.actions: Tensor | None = None  # (b lags), the actions before the one that comes next
        self.count = 0  # frames taken in
        self.begun: Tensor | None = None  # (b), the count at which each row began; None if all did at 0
        self._entries: list[tuple[Tensor, Tensor] | None] = [None] * layers

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Take in one frame's keys and values (b*n heads 1 c); return those of all slots (b*n heads window c)."""
        entry = self._entries[layer]
        if entry is None:
            shape = (*k.shape[:-2], self.window, k.shape[-1])
            entry = self._entries[layer] = (k.new_zeros(shape), v.new_zeros(shape))
        slot = self.count % self.window
        entry[0][..., slot : slot + 1, :], entry[1][..., slot : slot + 1, :] = k, v
        return entry

    def ages(self, device: torch.device) -> Tensor:
        """Return how many frames ago each slot was filled: (window), 0 for the frame that is being taken in.

        A slot that was never filled is as old as the window or older. If rows began at different times: (b window).
        """
        ages = (self.count - torch.arange(self.window, device=device)) % self.window
        if self.begun is None:
            return ages.masked_fill_(ages > self.count, self.window)
        return ages.masked_fill(ages > self.count - self.begun.to(device)[:, None], self.window)

    def repeat(self, rows: Tensor) -> None:
        """Go on with m rows, of which row i has the past of the present row `rows[i]`, int64 (m)."""

        def pick(part: Tensor | None) -> Tensor | None:
            return None if part is None else part[rows]

        def pick_positions(part: Tensor, rows_before: int) -> Tensor:
            return part.unflatten(0, (rows_before, -1))[rows].flatten(0, 1)

        if self.actions is not None:
            before = len(self.actions)
            self._entries = [
                None if entry is None else (pick_positions(entry[0], before), pick_positions(entry[1], before))
                for entry in self._entries
            ]
        self.last, self.actions = pick(self.last), pick(self.actions)

    def part(self, rows: slice) -> ContextCache:
        """Return a cache of some rows, in this one's memory, to take in one frame; then `join` the parts."""
        part = ContextCache(len(self._entries), self.window)
        part.count = self.count
        part.begun = None if self.begun is None else self.begun[rows]
        if self.actions is not None and self.last is not None:
            batch = len(self.actions)
            part.last, part.actions = self.last[rows], self.actions[rows]
            for layer, entry in enumerate(self._entries):
                if entry is not None:
                    keys, values = (each.unflatten(0, (batch, -1))[rows].flatten(0, 1) for each in entry)
                    part._entries[layer] = (keys, values)
        return part

    def join(self, parts: Sequence[ContextCache]) -> None:
        """Go on after the frame that parts of all rows, in their order, have taken in."""
        for layer, entry in enumerate(self._entries):
            if entry is None:  # the first frame
                theirs = [part._entries[layer] for part in parts]
                keys, values = zip(*(each for each in theirs if each is not None), strict=True)
                self._entries[layer] = (torch.cat(keys), torch.cat(values))
        self.last = torch.cat([part.last for part in parts if part.last is not None])
        self.actions = torch.cat([part.actions for part in parts if part.actions is not None])
        self.count = parts[0].count

    def put(self, rows: Tensor, other: ContextCache, *, batch: int) -> None:
        """Let some of `batch` rows (m) go on from the past of `other`, which has m rows; the others keep theirs."""
        self._make_room(batch, other)
        if self.begun is None:
            self.begun = torch.zeros(batch, dtype=torch.int64)
        self.begun[rows.cpu()] = self.count - other.count
        shift = (self.count - other.count) % self.window  # a frame's slot is its number, as counted here
        for mine, theirs in zip(self._entries, other._entries, strict=True):
            if mine is not None and theirs is not None:
                for part, new in zip(mine, theirs, strict=True):
                    part.unflatten(0, (batch, -1))[rows] = new.unflatten(0, (len(rows), -1)).roll(shift, dims=-2)
        if self.last is not None:
            self.last[rows] = 0 if other.last is None else other.last
        if self.actions is not None:
            self.actions[rows] = UNKNOWN_ACTION if other.actions is None else other.actions

    def _make_room(self, batch: int, like: ContextCache) -> None:
        """Before the first frame: take the shapes of a cache that has seen one."""
        if self.actions is not None or like.actions is None or like.last is None:
            return
        m = len(like.actions)

        def room(part: Tensor) -> Tensor:
            return part.new_zeros(part.shape[0] // m * batch, *part.shape[1:])

        self._entries = [None if entry is None else (room(entry[0]), room(entry[1])) for entry in like._entries]
        self.last, self.actions = room(like.last), room(like.actions) + UNKNOWN_ACTION

    def advance(self) -> None:
        """Finish the frame: the next one goes to the next slot."""
        self.count += 1
