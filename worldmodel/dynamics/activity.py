"""Where something moves: how much each code of the next frame counts in training."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ..types import Codes

NEAR = 2  # codes: about as far as a small object moves in a frame


def activity_weights(past: Codes, weight: float) -> Tensor:
    """Return how much each code of the frames after `past` (b t h w) counts, float32 of the same shape, of mean 1.

    `weight` times as much within NEAR codes of one that differs from the frame before. The weights depend on the past
    alone, never on the codes to be predicted, so the best distribution of each code is the same as without them: only
    the model's effort goes where there is something to learn. A clip's first frame counts evenly.
    """
    changed = F.pad((past[:, 1:] != past[:, :-1]).float(), (0, 0, 0, 0, 1, 0))
    near = F.max_pool2d(changed, 2 * NEAR + 1, stride=1, padding=NEAR)
    weights = 1 + (weight - 1) * near
    return weights / weights.mean()
