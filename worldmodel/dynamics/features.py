"""What is known of a frame before any of its codes: the decoder's input, by its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .expectation import Expectation


@dataclass(frozen=True)
class Features:
    """Features of frames; the leading axes (...) are (b t), or (b) for one frame each. n patches a frame."""

    context: Tensor  # (... n d), of the context transformer
    flow: Tensor  # (... n links*f), read off the warped previous frame
    expectation: Expectation | None = None  # (...), None where nothing is expected

    def map(self, function: Callable[[Tensor], Tensor]) -> Features:
        """Return features with a function of the leading axes applied to every part."""
        expectation = None if self.expectation is None else self.expectation.map(function)
        return Features(function(self.context), function(self.flow), expectation)

    def __getitem__(self, index: Any) -> Features:
        """Return a selection along the leading axes."""
        return self.map(lambda part: part[index])

    def __len__(self) -> int:
        return len(self.context)

    @property
    def num_frames(self) -> int:
        """How many frames (b t) has."""
        return self.context.shape[1]

    def flatten(self) -> Features:
        """Return the frames of (b t) as (b*t)."""
        return self.map(lambda part: part.flatten(0, 1))

    @classmethod
    def cat(cls, parts: Sequence[Features]) -> Features:
        """Return features of several batches, one after the other along the first axis."""
        expectations = [each.expectation for each in parts if each.expectation is not None]
        return cls(
            torch.cat([each.context for each in parts]),
            torch.cat([each.flow for each in parts]),
            Expectation(*(torch.cat(each) for each in zip(*expectations, strict=True))) if expectations else None,
        )

    @classmethod
    def stack(cls, frames: Sequence[Features]) -> Features:
        """Return t features of one frame each (b) as those of (b t)."""
        expectations = [each.expectation for each in frames if each.expectation is not None]
        return cls(
            torch.stack([each.context for each in frames], dim=1),
            torch.stack([each.flow for each in frames], dim=1),
            Expectation(*(torch.stack(parts, dim=1) for parts in zip(*expectations, strict=True)))
            if expectations
            else None,
        )
