"""Settings of a learned map, with the constants of the engine whose world it is."""

from __future__ import annotations

import dataclasses

from ..config import require_positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnedMapConfig:
    """A map of a world that is the same in every episode, seen by a player who walks in it.

    The defaults of the engine's constants are those of Doom.
    """

    action_names: tuple[str, ...]
    tics_per_step: int  # of the engine, in each step: the frame skip
    code_grid: int = 32
    codebook_size: int = 512
    code_dim: int = 32
    code_pixels: int = 4  # to a side of what a code looks like
    memory_dim: int = 512  # of the recurrent network that recognises places
    colour_dim: int = 96  # of the networks that turn the map into colours
    map_grid: int = 512  # points to a side of the map
    # Of the expectation's logit bias at an error of 1: after a look at real frames, and in imagination.
    logit_precision: tuple[float, float] = (0.25, 6.0)
    bob_tics: int = 20  # period in which the view of a walking player bobs
    stop_speed: float = 1 / 16  # of the game's units a tic: a player who is not pushed and slower on both axes stands
    max_context_noise: float = 0.1  # codes replaced by random ones in training, rate uniform in 0..this
    action_dropout: float = 0.1  # clips trained without actions

    def __post_init__(self) -> None:
        object.__setattr__(self, "action_names", tuple(self.action_names))
        object.__setattr__(self, "logit_precision", tuple(self.logit_precision))
        if len(self.logit_precision) != 2 or min(self.logit_precision) < 0:
            raise ValueError(f"logit_precision must be two numbers of at least 0, got {self.logit_precision}")
        require_positive(self, "tics_per_step", "code_grid", "codebook_size", "code_dim", "code_pixels")
        require_positive(self, "memory_dim", "colour_dim", "bob_tics")
        if self.map_grid < 2:
            raise ValueError(f"map_grid must be at least 2, got {self.map_grid}")
        if self.stop_speed < 0:
            raise ValueError(f"stop_speed must be at least 0, got {self.stop_speed}")
        if not self.action_names:
            raise ValueError("action_names must name at least one action")
