"""Image codecs within a budget: the search finds the best quality there is."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from worldmodel.evaluation.harness.clips import psnr
from worldmodel.evaluation.metrics.codecs import CODECS, available, within

ROUGH = np.random.default_rng(0).integers(0, 40, (64, 64, 3)) + np.add.outer(np.arange(64), np.arange(64))[..., None]
FRAME = ROUGH.astype(np.uint8)

each_codec = pytest.mark.parametrize("codec", [codec for codec in CODECS if available(codec)])


@each_codec
def test_the_best_quality_within_the_budget(codec: str) -> None:
    """No quality whose file fits has a larger file than the one that is taken."""
    budget = 1000
    coded = within(FRAME, codec, budget=budget)
    sizes = []
    for quality in range(0, 101, 4):
        file = io.BytesIO()
        Image.fromarray(FRAME).save(file, codec, quality=quality, **CODECS[codec])
        sizes.append(file.tell())
    fitting = [size for size in sizes if size <= budget]
    assert coded.size <= budget < max(sizes)
    assert coded.size >= 0.98 * max(fitting)
    assert psnr(coded.frame, FRAME) > 25


@each_codec
def test_more_bytes_are_never_worse(codec: str) -> None:
    """A larger budget gives at least the quality of a smaller one."""
    small, large = (within(FRAME, codec, budget=budget) for budget in (900, 3000))
    assert small.size < large.size
    assert psnr(small.frame, FRAME) <= psnr(large.frame, FRAME)


def test_where_nothing_fits_the_smallest_is_taken() -> None:
    """A budget below any file is exceeded, visibly."""
    coded = within(FRAME, "JPEG", budget=10)
    assert coded.size > 10
    assert coded.frame.shape == FRAME.shape
