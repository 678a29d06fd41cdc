"""Makes games in this process: what a game's own process calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .game import Game

TICS = 4  # an action lasts in ViZDoom, and in the toy world


def is_vizdoom(env_id: str) -> bool:
    """Whether `env_id` is one of ViZDoom's ids, or a scenario's configuration file."""
    return env_id.lower().startswith("vizdoom") or env_id.endswith(".cfg")


def build(
    env_id: str,
    *,
    frame_skip: int | None,
    frame_size: int,
    actions: Sequence[str] | None,
    fit: str | None,
    arguments: Mapping[str, Any],
    patience: float,
) -> Game:
    """Return the game; the arguments are those of `make_env`.

    Raises:
        ValueError: if there is no such game, or it cannot be made like this.
        GameDiedError: if the engine does not start.
    """
    if env_id == "toy":
        from .toy import ToyGame

        return ToyGame(frame_skip=TICS if frame_skip is None else frame_skip, frame_size=frame_size, actions=actions)
    if is_vizdoom(env_id):
        from .vizdoom.game import VizdoomGame, find

        return VizdoomGame(
            find(env_id),
            frame_skip=TICS if frame_skip is None else frame_skip,
            frame_size=frame_size,
            actions=actions,
            patience=patience,
        )
    from .gymnasium import GymnasiumGame

    return GymnasiumGame(
        env_id,
        frame_skip=1 if frame_skip is None else frame_skip,
        frame_size=frame_size,
        actions=actions,
        fit=fit or "squash",
        arguments=arguments,
    )
