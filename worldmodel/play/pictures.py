"""Frames as bytes for the page."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

THUMBNAIL = 96  # pixels


def png(frame: np.ndarray) -> bytes:
    """Return a frame, uint8 (H, W, 3), as PNG."""
    content = io.BytesIO()
    Image.fromarray(frame).save(content, format="PNG", compress_level=1)
    return content.getvalue()


def thumbnail(frame: np.ndarray) -> str:
    """Return a small picture of a frame, uint8 (H, W, 3), as WebP in base64."""
    content = io.BytesIO()
    Image.fromarray(frame).resize((THUMBNAIL, THUMBNAIL)).save(content, format="WEBP", quality=80)
    return base64.b64encode(content.getvalue()).decode()
