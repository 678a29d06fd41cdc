"""What an outside model expects the next frame to look like: the one thing that it may tell the dynamics.

The dynamics reads the image as an input and adds a logit bias for each code, the larger the nearer the code looks to
the image: a product of two experts (Hinton 2002), weighted by the precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from ..types import Actions, ActionsBetween, Codes, FrameActions


class Expectation(NamedTuple):
    """How frames are expected to look. The leading axes (...) are those of the frames: (b t), or (b) for one each."""

    image: Tensor  # (... 3 H W), in standardised colours, as codes look
    precision: Tensor  # (...), its weight as a logit bias; 0 means that nothing is expected

    def map(self, function: Callable[[Tensor], Tensor]) -> Expectation:
        """Return the expectation with a function of the leading axes applied to both parts."""
        return Expectation(function(self.image), function(self.precision))


def drop_expectation(expectation: Expectation, keep: Tensor) -> Expectation:
    """Return the expectation of clips (b t), nothing expected in those that are not kept: bool (b)."""
    keep = keep.to(expectation.precision.device)
    image = torch.where(keep.view(-1, 1, 1, 1, 1), expectation.image, 0.0)
    return Expectation(image, torch.where(keep.view(-1, 1), expectation.precision, 0.0))


class ExpectationState(Protocol):
    """What an expectation model knows at a frame."""

    def repeat(self, rows: Tensor) -> ExpectationState:
        """Return the state of m rows, of which row i has the past of the present row `rows[i]`, int64 (m)."""

    def put(self, rows: Tensor, other: Any) -> ExpectationState:
        """Return a state in which some rows (m) go on from `other`, which has m rows; the others keep theirs."""


State = TypeVar("State", bound=ExpectationState)


@runtime_checkable
class ExpectationModel(Protocol[State]):
    """Says what the next frame looks like. States are values: no call changes one."""

    def begin(
        self, codes: Codes, actions: ActionsBetween, *, num_expected: int | None = None
    ) -> tuple[Expectation, State]:
        """Take in a real context of codes (b t h w) with actions (b t-1) between them.

        Returns the expectations (b num_expected) of its last frames, by default of all but the first, and the state at
        the last.
        """

    def step(self, state: State, actions: FrameActions) -> tuple[Expectation, State]:
        """Return the expectation (b) of the imagined frame that follows under actions (b), and the state at it."""

    def follow(self, codes: Codes, actions: Actions, *, num_real: int | None = None) -> Expectation:
        """Return the expectations (b t) of the frames that follow each of codes (b t h w) under actions (b t).

        Args:
            num_real: the first so many frames are a context, and no later one is looked at, as in imagination; None
                for all frames to be real, each next frame expected after a look at the one before.
        """

    def frozen(self, *, precision: str = "auto") -> ExpectationModel[State]:
        """Return a copy that is quicker and cannot be trained."""
