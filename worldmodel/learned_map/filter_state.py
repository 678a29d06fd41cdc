"""The state of a learned map's filter at a frame: a value that no call changes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ..types import UNKNOWN_ACTION
from .motion_model import HISTORY
from .particle_filter import Particles
from .view_bob import BobPhase

ERROR_GROWTH = 0.005  # of each imagined step, in the squared error of what is rendered


@dataclass(frozen=True)
class FilterState:
    """What the filter knows at a frame, or, after `LearnedMap.predict`, of the next one."""

    memory: Tensor  # (b d), of place recognition, after the last frame that was looked at
    particles: Particles  # of this frame; in imagination the likeliest alone
    bob: BobPhase
    mean_error: Tensor  # (b), photometric error of the frames that were looked at, the newest most
    error: Tensor  # (b), mean squared error that the rendered image will have
    actions: Tensor  # (b HISTORY-1), the last ones
    anchor: Particles | None = None  # of the last frame that was looked at, if steps were predicted since
    steps: Tensor | None = None  # (b n HISTORY), the actions before each of these steps

    def repeat(self, rows: Tensor) -> FilterState:
        """Return the state of other rows: (m), for each the number of the one that it has the past of."""

        def pick(part: Tensor | NamedTuple | None) -> Tensor | NamedTuple | None:
            if isinstance(part, Particles | BobPhase):
                return type(part)(*(each[rows] for each in part))
            return part[rows] if isinstance(part, Tensor) else None

        return FilterState(**{field.name: pick(getattr(self, field.name)) for field in dataclasses.fields(self)})  # type: ignore[arg-type]

    def put(self, rows: Tensor, other: FilterState) -> FilterState:
        """Return a state in which some rows (m) go on from `other`, which has m rows; the others keep theirs.

        For imagination alone: of each row its likeliest particle is left.
        """

        def mixed(mine: Tensor, theirs: Tensor) -> Tensor:
            joined = mine.clone()
            joined[rows] = theirs
            return joined

        ours, new = (state.particles.likeliest() for state in (self, other))
        steps = self.actions.new_full((len(self.actions), 1, HISTORY), UNKNOWN_ACTION)
        error = self.error + (ERROR_GROWTH if self.steps is not None else 0.0)
        return FilterState(
            memory=mixed(self.memory, other.memory),
            particles=Particles(*map(mixed, ours, new)),
            bob=BobPhase(*map(mixed, self.bob, other.bob)),
            mean_error=mixed(self.mean_error, other.mean_error),
            error=mixed(error, other.error) - ERROR_GROWTH,  # that the next step adds to all alike
            actions=mixed(self.actions, other.actions),
            anchor=Particles(*map(mixed, ours, new)),
            steps=steps,
        )
