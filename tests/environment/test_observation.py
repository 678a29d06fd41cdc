"""What an agent sees: the same of imagined codes and of real frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.models import tiny_tokenizer
from worldmodel.environment.observation import OBSERVATIONS, Observer

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_real_frames_are_seen_as_imagined_ones(kind: str) -> None:
    """A real frame and its codes give one observation, which lies in the space."""
    observer = Observer(tiny_tokenizer(), kind)
    codes = observer.tokenizer.encode(FRAMES[:, None])[:, 0]
    of_codes, of_frames = observer.of_codes(codes), observer.of_frames(FRAMES)
    np.testing.assert_array_equal(of_codes, of_frames)
    assert of_codes.shape == (2, *observer.space.shape)
    assert all(observer.space.contains(each) for each in of_codes)


def test_features_are_the_mean_of_four_vectors() -> None:
    """Each number of the features is the mean of a channel over 2x2 codes' standardised vectors, by hand."""
    observer = Observer(tiny_tokenizer(), "features")
    codes = torch.randint(16, (1, 8, 8), generator=torch.Generator().manual_seed(0))
    codebook = observer.tokenizer.codebook.vectors
    vectors = ((codebook - codebook.mean(0)) / codebook.std(0))[codes[0]]
    expected = vectors[2:4, 4:6].mean((0, 1))
    np.testing.assert_allclose(observer.of_codes(codes)[0, :, 1, 2], expected.numpy(), rtol=1e-4, atol=1e-5)
