"""Features keep their parts together."""

from __future__ import annotations

import torch

from worldmodel.dynamics.expectation import Expectation
from worldmodel.dynamics.features import Features


def some(*, expected: bool) -> Features:
    expectation = Expectation(torch.randn(2, 3, 3, 8, 8), torch.rand(2, 3)) if expected else None
    return Features(torch.randn(2, 3, 16, 5), torch.randn(2, 3, 16, 4), expectation)


def test_a_selection_is_of_every_part() -> None:
    """Frames and rows are picked from all parts alike, and frames that are stacked again are the same."""
    for expected in (False, True):
        features = some(expected=expected)
        assert (len(features), features.num_frames) == (2, 3)
        again = Features.stack([features[:, t] for t in range(3)])
        flat = features.flatten()
        for name in ("context", "flow"):
            assert torch.equal(getattr(again, name), getattr(features, name))
            assert torch.equal(getattr(flat, name)[4], getattr(features, name)[1, 1])
        assert (again.expectation is not None) is expected
        if again.expectation is not None and features.expectation is not None and flat.expectation is not None:
            assert torch.equal(again.expectation.image, features.expectation.image)
            assert torch.equal(flat.expectation.precision[4], features.expectation.precision[1, 1])
