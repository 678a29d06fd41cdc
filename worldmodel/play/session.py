"""One game that is played: the imagined game, the real one beside it, and all that was pressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..envs import GameDiedError
from ..imagination.sources import Context
from ..imagination.truth import open_game
from ..simulator import Simulator
from .protocol import View
from .real import OpenGame, RealGame
from .script import Event, Script


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where a game can begin: its name within the checkpoint's starts, and the real frames."""

    name: str
    context: Context


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One frame of a game.

    Attributes:
        number: frames since the start; 0 is the last real frame before it.
        action: the name of what led to it, None at the start.
        images: "imagined" and "real" -> uint8 (H, W, 3), as far as they are looked at.
        real_ended: whether the real game is over.
    """

    number: int
    action: str | None
    images: Mapping[str, np.ndarray]
    real_ended: bool


class Session:
    """A game with state: `begin`, then `step` with actions. The real game follows while somebody looks at it.

    The imagined game always goes on, whatever is looked at: so the view can change at any time, and a script is
    nothing but a start, a seed, actions and temperatures.

    Args:
        simulator: of any state; its weights are shared, its state is left alone.
        checkpoint: its name, for scripts.
    """

    def __init__(self, simulator: Simulator, checkpoint: str, *, open_game: OpenGame = open_game) -> None:
        self._simulator = simulator.fork()
        self._checkpoint = checkpoint
        self._open = open_game
        self._real: RealGame | None = None
        self._start: Start | None = None
        self._seed = 0
        self._events: list[Event] = []
        self._actions: list[int] = []
        self._imagined = np.zeros((1, 1, 3), np.uint8)
        self.view: View = "imagined"
        self.no_real = ""  # why there is no real game, if there is none

    @property
    def action_names(self) -> tuple[str, ...]:
        return self._simulator.action_names

    def begin(self, start: Start, *, seed: int, temperature: float) -> Shown:
        """Go to a start: the same start, seed, temperatures and actions give the same frames."""
        context = start.context
        self._simulator.seed(seed)
        self._simulator.reset(context.frames[None], context.actions[None])
        self._start, self._seed, self._events, self._actions = start, seed, [], []
        self._imagined = context.frames[-1]
        self._prepare_real(context)
        self.set_temperature(temperature)
        return self.show(self.view)

    def set_temperature(self, temperature: float) -> None:
        """Sample at `temperature` from the next frame on; 0 takes the likeliest codes."""
        hundredths = round(temperature * 100) / 100  # what a script can say
        self._simulator.temperature = hundredths
        self._events.append(Event(temperature=hundredths))

    def step(self, action: int) -> Shown:
        """Do an action and return the frame that follows."""
        codes = self._simulator.step(np.array([action]))
        self._imagined = self._simulator.decode(codes[:, None])[0, 0]
        self._events.append(Event(action=action))
        self._actions.append(action)
        return self.show(self.view)

    def show(self, view: View) -> Shown:
        """Look at the imagined game, the real one or both, in the state they are in.

        Where there is no real game, or it fails, `no_real` says why and the imagined one is shown.
        """
        real = self._look_at_real() if view != "imagined" else {}
        self.view = view if real else "imagined"
        images = real if self.view == "real" else {"imagined": self._imagined, **real}
        names = self.action_names
        action = names[self._actions[-1]] if self._actions else None
        ended = self._real is not None and self._real.ended
        return Shown(number=len(self._actions), action=action, images=images, real_ended=ended)

    @property
    def script(self) -> Script:
        """The game so far."""
        assert self._start is not None
        return Script(checkpoint=self._checkpoint, start=self._start.name, seed=self._seed, events=tuple(self._events))

    @property
    def real(self) -> RealGame | None:
        """The real game, if there is one."""
        return self._real

    @property
    def actions(self) -> Sequence[int]:
        """What was done since the start."""
        return tuple(self._actions)

    @property
    def temperature(self) -> float:
        """Of the sampling."""
        return self._simulator.temperature

    def clear_script(self) -> None:
        """Forget the temperature that the game began with: a script that is replayed says its own."""
        self._events = []

    def close(self) -> None:
        """End the real game's engine."""
        if self._real is not None:
            self._real.close()
            self._real = None

    def _prepare_real(self, context: Context) -> None:
        self.no_real = ""
        try:
            if self._real is not None and context.origin is not None:
                self._real = self._real.move(context)
            else:
                self.close()
                self._real = RealGame(context, self.action_names, open_game=self._open)
        except (ValueError, GameDiedError) as error:
            self.close()
            self.no_real = str(error)

    def _look_at_real(self) -> dict[str, np.ndarray]:
        if self._real is None:
            return {}
        try:
            return {"real": self._real.follow(self._actions)}
        except (ValueError, GameDiedError, ImportError) as error:
            self.no_real = str(error)
            return {}
