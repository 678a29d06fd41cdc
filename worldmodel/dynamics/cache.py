"""The memory of a simulator: the keys and values of the frames in its window, and nothing older."""

from __future__ import annotations

import torch
from torch import Tensor


class ContextCache:
    """Keys and values (b*n heads t c) of each layer, for at most `window` frames; the oldest is dropped for ever.

    Ages are relative, so no entry has to be computed again when the window moves.
    """

    def __init__(self, layers: int, window: int) -> None:
        self.window = window
        self.last: Tensor | None = None  # the last frame's patches
        self._keys: list[Tensor | None] = [None] * layers
        self._values: list[Tensor | None] = [None] * layers

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append a layer's keys and values; return those that the new frames may attend to."""
        keys, values = self._keys[layer], self._values[layer]
        if keys is not None and values is not None:
            k, v = torch.cat([keys, k], dim=-2), torch.cat([values, v], dim=-2)
        # The next frame sees itself and window - 1 frames before it.
        kept = self.window - 1
        self._keys[layer] = k[..., max(0, k.shape[-2] - kept) :, :].contiguous() if kept else None
        self._values[layer] = v[..., max(0, v.shape[-2] - kept) :, :].contiguous() if kept else None
        return k, v
