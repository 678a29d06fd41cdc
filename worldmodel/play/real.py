"""The real game beside the imagined one: the engine, replayed to a state and given the same actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..envs import Game
from ..imagination.sources import Context
from ..imagination.truth import open_game, replay
from ..rollouts import Episode
from ..rollouts.recorder import Moment, to_episode

OpenGame = Callable[[Mapping[str, Any]], Game]


class RealGame:
    """An engine that follows a played game. It is started when it is first asked for, and kept for later starts.

    Args:
        context: where the game begins.
        names: the model's action names.
        open_game: gives the engine of the settings that a recording was made with.
    """

    def __init__(self, context: Context, names: Sequence[str], *, open_game: OpenGame = open_game) -> None:
        if context.origin is None:
            raise ValueError("these frames come from a video: there is no real game behind them")
        self.origin = context.origin
        self._context = context
        self._names = tuple(names)
        self._open = open_game
        self._game: Game | None = None
        self._placed = False  # whether the engine has been brought to the start
        self._done = 0  # actions that it has been given since
        self._frame = context.frames[-1]
        self.ended = False

    def follow(self, actions: Sequence[int]) -> np.ndarray:
        """Return what the game shows after `actions`, the model's indices, since the start: uint8 (H, W, 3).

        Only actions that are new are given to the engine. Once it has `ended` it shows its last frame.

        Raises:
            ValueError: if the replay differs from the recording, or the game has no such action.
            GameDiedError: if the engine died; the next call starts another.
        """
        try:
            if self._game is None:
                self._game = self._open(self.origin.settings)
            if not self._placed:
                self._rewind()
            for action in actions[self._done :]:
                self._step(action)
        except BaseException:
            self.close()
            raise
        return self._frame

    def move(self, context: Context) -> RealGame:
        """Return the real game from another start, with the same engine where it is the same game."""
        other = RealGame(context, self._names, open_game=self._open)
        if other.origin.settings == self.origin.settings and self._game is not None:
            other._game, self._game = self._game, None
        else:
            self.close()
        return other

    def episode(self, actions: Sequence[int]) -> tuple[Game, Episode]:
        """Return the engine and the whole real episode, from its reset over the start to the end of `actions`.

        Seed and actions reproduce every frame of it. Afterwards the engine stands where it stood.
        """
        self.follow(actions)
        assert self._game is not None
        game, done = self._game, [*self.origin.actions, *(self._index(action) for action in actions)]
        first = game.reset(self.origin.seed)
        moments = [Moment(frame=first.frame, variables=first.variables)]
        for action in done:
            if moments[-1].terminated or moments[-1].truncated:
                break
            step = game.step(int(action))
            moments.append(
                Moment(
                    frame=step.frame,
                    variables=step.variables,
                    action=int(action),
                    reward=step.reward,
                    terminated=step.terminated,
                    truncated=step.truncated,
                )
            )
        self._rewind()
        self.follow(actions)
        if not moments[-1].terminated:  # play was cut off here
            moments[-1] = replace(moments[-1], truncated=True)
        return game, to_episode(moments, self.origin.seed)

    def close(self) -> None:
        """End the engine; `follow` starts another."""
        if self._game is not None:
            self._game.close()
        self._game, self._done, self.ended, self._placed = None, 0, False, False

    def _rewind(self) -> None:
        """Bring the engine to the start."""
        assert self._game is not None
        replay(self._game, self.origin, self._context.frames)
        self._frame, self._done, self.ended, self._placed = self._context.frames[-1], 0, False, True

    def _step(self, action: int) -> None:
        assert self._game is not None
        self._done += 1
        if self.ended:
            return
        step = self._game.step(self._index(action))
        if step.frame is not None:
            self._frame = step.frame
        self.ended = step.frame is None or step.terminated or step.truncated

    def _index(self, action: int) -> int:
        """Return the engine's index of the model's action."""
        names, name = list(self.origin.settings["action_names"]), self._names[action]
        if name not in names:
            raise ValueError(f"the real game has no action {name!r} (it has: {', '.join(names)})")
        return names.index(name)
