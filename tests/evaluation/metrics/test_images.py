"""SSIM, sharpness and change: against a loop over windows, and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from worldmodel.evaluation.metrics.images import change, gradient_energy, luma, ssim

NOISE = np.random.default_rng(0).integers(0, 256, (3, 16, 14, 3), dtype=np.uint8)


def slow_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """The definition: moments of each window under an 11x11 Gaussian, one window at a time."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11].astype(float), y[i : i + 11, j : j + 11].astype(float)
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb, cov = (
                (window * (a - ma) ** 2).sum(),
                (window * (b - mb) ** 2).sum(),
                (window * (a - ma) * (b - mb)).sum(),
            )
            c1, c2 = 2.55**2, 7.65**2
            values.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return float(np.mean(values))


def test_ssim_is_its_definition() -> None:
    """The fast form gives what a loop over the windows gives, and the batch's shape."""
    other = NOISE[::-1]
    expected = [slow_ssim(luma(a), luma(b)) for a, b in zip(NOISE, other, strict=True)]
    np.testing.assert_allclose(ssim(NOISE, other), expected, atol=1e-4)
    assert ssim(NOISE[None], other[None]).shape == (1, 3)


def test_ssim_of_constant_frames_by_hand() -> None:
    """Flat frames differ by their means alone: (2 a b + C1) / (a^2 + b^2 + C1). Equal frames have 1."""
    a, b = np.full((12, 12, 3), 100, np.uint8), np.full((12, 12, 3), 50, np.uint8)
    assert ssim(a, b) == pytest.approx((2 * 5000 + 2.55**2) / (12500 + 2.55**2), abs=1e-3)
    np.testing.assert_allclose(ssim(NOISE, NOISE), 1, atol=1e-5)


def test_frames_smaller_than_the_window_are_refused() -> None:
    """There is no window to take the moments of."""
    with pytest.raises(ValueError, match="at least 11x11"):
        ssim(NOISE[:, :10], NOISE[:, :10])


def test_gradient_energy_by_hand() -> None:
    """Stripes one pixel wide, 0 and 100, have a squared step of 10,000 everywhere across and none down."""
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 100
    assert gradient_energy(stripes) == pytest.approx(10_000, rel=1e-4)
    assert gradient_energy(stripes // 2) == pytest.approx(2_500, rel=1e-4)


def test_change_by_hand() -> None:
    """The mean absolute difference of neighbours in time, and nothing wraps around."""
    frames = np.zeros((2, 3, 4, 4, 3), np.uint8)
    frames[0, 1], frames[0, 2] = 200, 190
    np.testing.assert_array_equal(change(frames), [[200, 10], [0, 0]])
