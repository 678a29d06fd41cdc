"""The real future: the engine is replayed to where the context ends, and given the same actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from ..envs import Game, remake_env
from .sources import Context, Origin


def real_futures(context: Context, futures: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """Return what the game really shows after `context` under each of `futures`, action names: uint8 (n, H, W, 3).

    The replay has to show the frames of the context again, bit for bit, before anything is believed.

    Raises:
        ValueError: if the context has no game behind it, the replay differs, or the game ends on the way.
    """
    origin = context.origin
    if origin is None:
        raise ValueError("--truth replays the game that the context was recorded from, and a video has none")
    with closing(open_game(origin.settings)) as game:
        return [real_future(game, origin, context.frames, actions) for actions in futures]


class FutureEndsError(ValueError):
    """The real game ends before the future does."""


def open_game(settings: Mapping[str, Any]) -> Game:
    """Return the game that was recorded with `settings`."""
    return remake_env(settings)


def real_future(game: Game, origin: Origin, context: np.ndarray, actions: Sequence[str]) -> np.ndarray:
    """Return what `game` really shows after the frames `context` under `actions`: uint8 (n, H, W, 3).

    Raises:
        FutureEndsError: if the game ends on the way.
        ValueError: if the replay differs from the recording.
    """
    replay(game, origin, context)
    frames = []
    for name in actions:
        if name not in game.action_names:
            raise ValueError(f"the real game has no action {name!r} (it has: {', '.join(game.action_names)})")
        step = game.step(game.action_names.index(name))
        if step.frame is not None:
            frames.append(step.frame)
        if len(frames) < len(actions) and (step.frame is None or step.terminated or step.truncated):
            raise FutureEndsError(
                f"the real game ends after {len(frames)} of {len(actions)} steps; start earlier in it"
            )
    return np.stack(frames)


def replay(game: Game, origin: Origin, context: np.ndarray) -> None:
    """Bring `game` to where `context` ends.

    Raises:
        ValueError: if a frame is not, bit for bit, the one that was recorded.
    """
    first = len(origin.actions) + 1 - len(context)
    shown: np.ndarray | None = game.reset(origin.seed).frame
    for index in range(len(origin.actions) + 1):
        if index:
            shown = game.step(int(origin.actions[index - 1])).frame
        if index >= first and (shown is None or not np.array_equal(shown, context[index - first])):
            raise ValueError(f"the replayed game differs from the recording at frame {index}{_why(game, origin)}")


def _why(game: Game, origin: Origin) -> str:
    """Name the first setting in which the game here is not the one that was recorded."""
    for name, recorded in origin.settings.items():
        if game.settings.get(name) != recorded:
            return f": it was recorded with {name} {recorded}, here it is {game.settings.get(name)}"
    return ""
