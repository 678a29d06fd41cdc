"""From what an environment renders to a square frame: any usual array becomes uint8 RGB, fitted to the square."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

FITS = ("squash", "pad", "crop")
MAX_ASPECT = 4.0  # of a picture that is shown, or 1 over it


def to_rgb(rendered: Any) -> np.ndarray:
    """Return a rendered picture as uint8 (H, W, 3).

    Grey, RGBA, planes (3, H, W), floats in 0..1 or 0..255, nested lists, tensors, and the last of a list of pictures
    are understood.

    Raises:
        ValueError: if it is None or not a picture.
    """
    if rendered is None:
        raise ValueError("render() returned None; it has to return a picture in render mode rgb_array")
    try:
        if isinstance(rendered, list) and rendered and not isinstance(rendered[0], list):
            rendered = rendered[-1]  # the pictures since the last call, as render mode rgb_array_list gives
        picture = np.asarray(rendered)
        picture = picture[-1] if picture.ndim == 4 and len(picture) else picture
    except (ValueError, TypeError) as error:
        raise ValueError(f"render() returned no picture: {error}") from error
    return _bytes(_channels(picture))


def _channels(picture: np.ndarray) -> np.ndarray:
    """Return the picture as (H, W, 3), whatever its channels are and wherever they stand."""
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.ndim == 3 and picture.shape[2] not in (1, 3, 4) and picture.shape[0] in (1, 3, 4):
        picture = picture.transpose(1, 2, 0)
    if picture.ndim != 3 or picture.shape[2] not in (1, 3, 4) or 0 in picture.shape or picture.dtype.kind not in "buif":
        raise ValueError(f"render() returned {picture.dtype} {picture.shape}, which is no picture (H, W, 3)")
    return picture.repeat(3, axis=2) if picture.shape[2] == 1 else picture[..., :3]


def _bytes(picture: np.ndarray) -> np.ndarray:
    if picture.dtype == np.uint8:
        return np.ascontiguousarray(picture)
    if picture.dtype.kind == "f":
        if not np.isfinite(picture).all():
            raise ValueError("render() returned a picture with values that are not finite")
        picture = np.rint(picture * 255.0 if picture.max() <= 1 else picture)
    elif picture.dtype.kind == "b":
        picture = picture * 255
    return np.ascontiguousarray(picture.clip(0, 255).astype(np.uint8))


def fit_square(picture: np.ndarray, size: int, *, fit: str) -> np.ndarray:
    """Return a uint8 (H, W, 3) picture as a frame, uint8 (size, size, 3); each pixel is the mean of what it covers.

    Args:
        fit: "squash" scales both sides on their own and loses nothing; "pad" keeps the shape and adds black bars;
            "crop" keeps the shape and cuts off what is outside the largest centred square.
    """
    height, width = picture.shape[:2]
    if fit == "squash":
        return _resize(picture, (size, size))
    if fit == "crop":
        side = min(height, width)
        left, top = (width - side) // 2, (height - side) // 2
        return _resize(picture, (size, size), box=(left, top, left + side, top + side))
    scale = size / max(height, width)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    frame = np.zeros((size, size, 3), np.uint8)
    top, left = (size - inner[1]) // 2, (size - inner[0]) // 2
    frame[top : top + inner[1], left : left + inner[0]] = _resize(picture, inner)
    return frame


def aspect_of(settings: Mapping[str, Any]) -> float:
    """Return width over height of the picture that a game draws, where all of it was squashed to a square; else 1.

    Args:
        settings: of the game, as a data set keeps them.
    """
    match settings.get("fit"), settings.get("screen_size"):
        case "squash", [int(height), int(width)] if height > 0 and width > 0:
            return min(max(width / height, 1 / MAX_ASPECT), MAX_ASPECT)
    return 1.0


def _resize(picture: np.ndarray, size: tuple[int, int], *, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX, box=box))
