"""Frames from the engine's colour planes: the exact mean of 2x2 pixels, once or more often."""

from __future__ import annotations

import numpy as np

_EVEN_BYTES = np.uint64(0x00FF00FF00FF00FF)
_TWO = np.uint64(0x0002000200020002)


class Shrinker:
    """Turns uint8 planes (3, size, size) into frames (size / 2**halvings, ..., 3).

    Each halving is the mean of 2x2 pixels, a half rounded up. It works on eight pixels at a time, in 64-bit words, and
    in buffers that are kept: the allocator would give such large ones back to the system at every frame, which costs
    more than the arithmetic.
    """

    def __init__(self, size: int, *, halvings: int) -> None:
        sizes = [size >> done for done in range(halvings)]
        self._buffers = [
            (np.empty((3, side, side // 8), np.uint64), np.empty((3, side, side // 8), np.uint64)) for side in sizes
        ]

    def __call__(self, planes: np.ndarray) -> np.ndarray:
        """Return the frame of `planes`, in memory of its own."""
        for odd, even in self._buffers:
            words = np.ascontiguousarray(planes).view(np.uint64) if planes.strides[2] != 1 else planes.view(np.uint64)
            np.right_shift(words, np.uint64(8), out=odd)
            np.bitwise_and(odd, _EVEN_BYTES, out=odd)
            np.bitwise_and(words, _EVEN_BYTES, out=even)
            np.add(odd, even, out=odd)
            sums = even[:, : even.shape[1] // 2]
            np.add(odd[:, 0::2], odd[:, 1::2], out=sums)
            np.add(sums, _TWO, out=sums)
            np.right_shift(sums, np.uint64(2), out=sums)
            planes = sums.view(np.uint8)[:, :, ::2]  # the low byte of each sum
        return np.stack(list(planes), axis=-1)
