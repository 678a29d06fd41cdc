"""What is measured on frames besides PSNR: structural similarity, sharpness, and change from frame to frame."""

from __future__ import annotations

import functools

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
WINDOW, SIGMA = 11, 1.5  # Wang et al. 2004, sec. III-B
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # K1 and K2, ibid.
AT_ONCE = 64  # frames, to bound memory


def ssim(frames: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Return the mean structural similarity (Wang et al. 2004) of each frame: uint8 (... H W 3) twice -> float64 (...).

    It is taken on luma, under a Gaussian window of 11 pixels and deviation 1.5, wherever that fits inside the frame.

    Raises:
        ValueError: if the frames are smaller than the window.
    """
    *batch, height, width, _ = real.shape
    if min(height, width) < WINDOW:
        raise ValueError(f"SSIM needs frames of at least {WINDOW}x{WINDOW} pixels, got {height}x{width}")
    ours, theirs = frames.reshape(-1, height, width, 3), real.reshape(-1, height, width, 3)
    parts = [
        _ssim(luma(ours[start : start + AT_ONCE]), luma(theirs[start : start + AT_ONCE]))
        for start in range(0, len(ours), AT_ONCE)
    ]
    return np.concatenate(parts).reshape(batch)


def _ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the mean similarity of grey frames (n H W): (n)."""
    mean_x, mean_y = _blur(x), _blur(y)
    variances = _blur(x * x) + _blur(y * y) - mean_x**2 - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    alike = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    out: np.ndarray = (alike / ((mean_x**2 + mean_y**2 + C1) * (variances + C2))).mean((1, 2), dtype=np.float64)
    return out


def _blur(x: np.ndarray) -> np.ndarray:
    """Return the Gaussian mean around each pixel of (n H W) whose window fits: (n H-10 W-10)."""
    out: np.ndarray = _bands(x.shape[1]) @ x @ _bands(x.shape[2]).T
    return out


@functools.cache
def _bands(size: int) -> np.ndarray:
    """Return the matrix (size-10, size) that blurs along one axis."""
    weights = np.exp(-0.5 * (np.arange(WINDOW) - WINDOW // 2) ** 2 / SIGMA**2)
    weights /= weights.sum()
    bands = np.zeros((size - WINDOW + 1, size), np.float32)
    for row in range(len(bands)):
        bands[row, row : row + WINDOW] = weights
    return bands


def luma(frames: np.ndarray) -> np.ndarray:
    """Return the brightness of frames in 0..255: uint8 (... H W 3) -> float32 (... H W)."""
    out: np.ndarray = frames.astype(np.float32) @ LUMA
    return out


def gradient_energy(frames: np.ndarray) -> np.ndarray:
    """Return how sharp each frame is, the mean squared step of luma to the next pixel: (... H W 3) -> (...).

    The ratio of two sums of it, imagined or reconstructed frames over real ones, is 1 where nothing was blurred.
    """
    grey = luma(frames)
    across = np.square(np.diff(grey, axis=-1)).mean((-2, -1), dtype=np.float64)
    down = np.square(np.diff(grey, axis=-2)).mean((-2, -1), dtype=np.float64)
    out: np.ndarray = across + down
    return out


def change(frames: np.ndarray) -> np.ndarray:
    """Return the mean absolute difference between consecutive frames, grey levels: (... t H W 3) -> (... t-1)."""
    later, earlier = frames[..., 1:, :, :, :].astype(np.int16), frames[..., :-1, :, :, :].astype(np.int16)
    out: np.ndarray = np.abs(later - earlier).mean((-3, -2, -1), dtype=np.float64)
    return out
