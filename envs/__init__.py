"""Games that can be recorded: ViZDoom, the toy world, and any Gymnasium id, behind one interface."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from .game import Game, GameDiedError, Observation, Step

__all__ = ["DEFAULT_ENV", "Game", "GameDiedError", "Observation", "Step", "make_env"]

DEFAULT_ENV = "VizdoomMyWayHome-v1"


def make_env(
    env_id: str = DEFAULT_ENV,
    *,
    frame_skip: int = 4,
    frame_size: int = 128,
    actions: Sequence[str] | None = None,
    patience: float = 1.0,
) -> Game:
    """Return the game `env_id`: "toy", a ViZDoom id, or any Gymnasium id with rgb_array rendering.

    Args:
        frame_skip: how many tics of the game an action lasts.
        frame_size: side of the square frames in pixels.
        actions: action names to choose from; None is the game's default set.
        patience: factor on the time after which a silent engine counts as hung.

    Raises:
        ValueError: if there is no such environment (the nearest is suggested), or it has no such action or size.
        GameDiedError: if the engine does not start.
    """
    if env_id == "toy":
        from .toy import ToyGame

        return ToyGame(frame_skip=frame_skip, frame_size=frame_size, actions=actions)
    import gymnasium

    if env_id.lower().startswith("vizdoom"):
        from . import vizdoom  # registers its ids
    if env_id not in gymnasium.registry and ":" not in env_id:
        near = difflib.get_close_matches(env_id, ["toy", DEFAULT_ENV, *gymnasium.registry], n=1)
        raise ValueError(f"no environment named {env_id!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if env_id.startswith("Vizdoom"):
        return vizdoom.VizdoomGame(
            gymnasium.spec(env_id), frame_skip=frame_skip, frame_size=frame_size, actions=actions, patience=patience
        )
    from .gymnasium import GymnasiumGame

    return GymnasiumGame(env_id, frame_skip=frame_skip, frame_size=frame_size, actions=actions)
