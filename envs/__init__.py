"""Games that can be recorded: ViZDoom, the toy world, and any Gymnasium environment, behind one interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .build import build, is_vizdoom
from .game import Game, GameDiedError, Observation, Step

__all__ = ["DEFAULT_ENV", "Game", "GameDiedError", "Observation", "Step", "make_env", "remake_env"]

DEFAULT_ENV = "VizdoomMyWayHome-v1"


def make_env(
    env_id: str = DEFAULT_ENV,
    *,
    frame_skip: int | None = None,
    frame_size: int = 128,
    actions: Sequence[str] | None = None,
    fit: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    patience: float = 1.0,
    own_process: bool = True,
) -> Game:
    """Return the game `env_id`: "toy", a ViZDoom id, or any Gymnasium environment with rgb_array rendering.

    All but the toy world live in a process of their own, which ends with this one, unless `own_process` is false.

    Args:
        env_id: an id, `module:Id`, or `path/to/file.py:Class`.
        frame_skip: how many tics of the game an action lasts, on top of what an id repeats by itself; None is 4 in
            ViZDoom and 1 elsewhere.
        frame_size: side of the square frames in pixels.
        actions: action names to choose from, or one name of a JSON table; None is the game's default set.
        fit: "squash", "pad" or "crop" the picture to the square; None is "squash". ViZDoom's is always cropped.
        arguments: keyword arguments for a Gymnasium environment.
        patience: factor on the time after which a silent engine counts as hung.

    Raises:
        ValueError: if there is no such environment (the nearest is suggested), or it has no such action or size.
        OSError: if the system has no room for it.
        GameDiedError: if the engine does not start.
    """
    if (env_id == "toy" or is_vizdoom(env_id)) and arguments:
        raise ValueError(f"{env_id} takes no keyword arguments, got {', '.join(arguments)}")
    if is_vizdoom(env_id) and fit not in (None, "crop"):
        raise ValueError(f"ViZDoom's frames are the centred square of its screen (fit=crop), got fit={fit}")
    settings: dict[str, Any] = {
        "env_id": env_id,
        "frame_skip": frame_skip,
        "frame_size": frame_size,
        "fit": fit,
        "patience": patience,
    }
    settings |= {"actions": None if actions is None else list(actions), "arguments": dict(arguments or {})}
    if env_id == "toy" or not own_process:
        return build(**settings)
    from .remote import RemoteGame

    return RemoteGame(settings)


def remake_env(settings: Mapping[str, Any], *, patience: float = 1.0) -> Game:
    """Return the game that was recorded with `settings`, those of a `Game` or of a data set.

    Raises:
        ValueError: if it cannot be made here.
        GameDiedError: if the engine does not start.
    """
    is_gymnasium = settings["env"] != "toy" and not is_vizdoom(settings["env"])
    return make_env(
        settings["env"],
        frame_skip=settings["frame_skip"],
        frame_size=settings["frame_size"],
        actions=settings["action_names"],
        fit=settings.get("fit", "crop") if is_gymnasium else None,  # older data sets were cropped
        arguments=settings.get("arguments"),
        patience=patience,
    )
