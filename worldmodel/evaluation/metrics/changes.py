"""What changes in a game's picture: pixels, code cells, and small objects on a still background."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..answers import Curve
from .intervals import CONFIDENCE, DRAWS

CHANGED = 16  # grey levels in the most changed channel: beyond the noise of a codec
MAX_SHARE = 0.05  # of the pixels: a background of which more changes does not stand still
MIN_PIXELS = 2  # of a small object
MAX_PIXELS = 0.005  # of the frame: a thing of 9x9 in 128x128
FOUND = 0.25  # of the squared change: half of the amplitude
TINY = 1e-9


def changed(frames: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return which pixels of frames differ from those before: uint8 (... H W 3) twice -> bool (... H W)."""
    difference = np.abs(frames.astype(np.int16) - before.astype(np.int16))
    out: np.ndarray = difference.max(-1) > CHANGED
    return out


def squared_error_on(frames: np.ndarray, real: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return the sum of squared errors on some pixels: uint8 (b n H W 3) twice, bool (b n H W) -> float64 (b n)."""
    error = np.square(frames.astype(np.float32) - real.astype(np.float32)).sum(-1, dtype=np.float64)
    out: np.ndarray = (error * where).sum((-2, -1))
    return out


def ratio_of_sums(parts: np.ndarray, wholes: np.ndarray, rng: np.random.Generator) -> Curve:
    """Return sum(parts) / sum(wholes) over clips by step, both (b n), with its bootstrap interval over clips.

    Clips count by their wholes: one in which nothing changes says nothing. A step at which nothing does is 1.
    """
    number = len(parts)
    counts = rng.multinomial(number, np.full(number, 1 / number), size=DRAWS)
    drawn = _ratio(counts @ parts, counts @ wholes)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    mean = _ratio(parts.sum(0), wholes.sum(0))
    return Curve(tuple(mean.tolist()), tuple(low.tolist()), tuple(high.tolist()))


def _ratio(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    return np.where(wholes > 0, parts / np.maximum(wholes, TINY), 1.0)


def background_of(frames: np.ndarray) -> np.ndarray:
    """Return what stands still in a clip: the median of frames uint8 (t H W 3) over time, (H W 3)."""
    return np.median(frames, axis=0).astype(np.uint8)


def small_objects(frames: np.ndarray, background: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the small objects that move over a still background in frames uint8 (t H W 3): the frame and the object's
    pixels, bool (H W).

    An object is a connected patch of pixels that differ from the background, of which some changed since the frame
    before. A frame of which more than MAX_SHARE differs has no still background.
    """
    for t in range(1, len(frames)):
        mask = changed(frames[t], background)
        if not 0 < mask.mean() <= MAX_SHARE:
            continue
        moved = changed(frames[t], frames[t - 1])
        for patch in patches(mask):
            if MIN_PIXELS <= patch.sum() <= MAX_PIXELS * patch.size and (moved & patch).any():
                yield t, patch


def is_found(frame: np.ndarray, decoded: np.ndarray, background: np.ndarray, patch: np.ndarray) -> bool:
    """Return whether an object of a frame uint8 (H W 3) is in the decoded one: on its pixels that is off by less than
    half of what the background alone is.
    """
    real = frame[patch].astype(np.float64)
    missing = np.square(background[patch] - real).mean()
    return bool(np.square(decoded[patch] - real).mean() < FOUND * missing)


def patches(mask: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the connected patches of a mask bool (H W), diagonals included, each as a mask."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    while left:
        reached = [left.pop()]
        patch = np.zeros_like(mask)
        while reached:
            y, x = reached.pop()
            patch[y, x] = True
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            reached.extend(near)
        yield patch
