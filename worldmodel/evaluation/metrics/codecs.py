"""Still-image codecs at the tokenizer's own size: how good JPEG, WebP and AVIF are within so many bytes a frame."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, features

BEST_QUALITY = 100

# Pillow's settings besides the quality: those that make each codec small and are not much slower.
CODECS: dict[str, dict[str, Any]] = {
    "JPEG": {"optimize": True},
    "WEBP": {"method": 6},
    "AVIF": {"speed": 6},
}


@dataclass(frozen=True)
class Coded:
    """A frame that went through a codec."""

    frame: np.ndarray  # uint8 (H W 3)
    size: int  # bytes of the whole file, header included


def available(codec: str) -> bool:
    """Return whether Pillow has this codec here."""
    return codec == "JPEG" or bool(features.check(codec.lower()))


def within(frame: np.ndarray, codec: str, *, budget: int) -> Coded:
    """Return a frame uint8 (H W 3) at the highest quality whose file is at most `budget` bytes.

    The file counts as a whole, header included. Where even the lowest quality is larger, that one is returned.
    """
    low, high = 0, BEST_QUALITY
    best = _write(frame, codec, quality=0)
    while low < high:
        quality = (low + high + 1) // 2
        file = _write(frame, codec, quality=quality)
        if len(file) <= budget:
            low, best = quality, file
        else:
            high = quality - 1
    return Coded(np.array(Image.open(io.BytesIO(best)).convert("RGB")), len(best))


def _write(frame: np.ndarray, codec: str, *, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, codec, quality=quality, **CODECS[codec])
    return file.getvalue()
