"""What can be played: checkpoints, loaded when they are first asked for, and the real frames where a game can begin."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..action_names import IDLE
from ..checkpoints import gallery
from ..imagination.sources import Context, Origin, Source, load_context, translate
from ..imagination.truth import open_game
from ..imagination.videos import DEFAULT_SOURCE
from ..rollouts import EpisodeDataset
from ..runtime import choose_threads
from ..simulator import Simulator
from .keymap import buttons
from .pictures import thumbnail
from .real import OpenGame
from .session import Start

NUM_CONTEXT = 6  # real frames that a game begins with, as in `imagine`
MAX_STARTS = 12
HORIZON = 10  # frames of a recorded episode that should move after a start
FAVOURITE = {gallery.DEFAULT: DEFAULT_SOURCE.rpartition(":")[2]}
LIVE = "live"
LIVE_SEEDS = 900_000  # seeds of training's split that no shipped recording has: what is played may be trained on


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A checkpoint that is ready to be played.

    Attributes:
        settings: of the real game, None where only a video is known.
    """

    name: str
    simulator: Simulator
    starts: tuple[Start, ...]
    settings: Mapping[str, Any] | None

    def start(self, name: str, *, seed: int, open_game: OpenGame = open_game) -> Start:
        """Return the start of that name; `live` is a new real game, whose own seed is `seed`; empty is the first.

        Raises:
            ValueError: if there is none of that name.
            GameDiedError: if the real game does not start.
        """
        if name == LIVE and self.settings is not None:
            context = live_context(self.simulator, self.settings, seed=LIVE_SEEDS + seed % 10_000, open_game=open_game)
            return Start(name=LIVE, context=context)
        known = {start.name: start for start in self.starts}
        if not name:
            return self.starts[0]
        if name not in known:
            raise ValueError(f"no start named {name!r} (there are: {', '.join(known)})")
        return known[name]

    @property
    def aspect(self) -> float:
        """Width over height of the game's picture: models see every picture as a square."""
        return self.starts[0].context.aspect

    def describe(self) -> dict[str, Any]:
        """Return what the page has to know, as JSON values."""
        names = self.simulator.action_names
        return {
            "checkpoint": self.name,
            "actions": list(names),
            "buttons": [{"name": button.name, "keys": list(button.keys)} for button in buttons(names)],
            "frames_per_second": self.simulator.frames_per_second,
            "frame_size": self.simulator.frame_size,
            "aspect": self.aspect,
            "starts": [
                {"name": start.name, "image": "data:image/webp;base64," + thumbnail(start.context.frames[-1])}
                for start in self.starts
            ],
            "live": LIVE if self.settings is not None else None,
            "game": str(self.settings["env"]) if self.settings is not None else "",
        }


class Library:
    """The checkpoints of the gallery, and the one that the command line names.

    Args:
        checkpoint: a name of the gallery or a directory; it is the first that is played.
        source: where its games begin, in the form of `sources`; None is what comes with the checkpoint.

    Raises:
        ValueError: if there is no such checkpoint or source.
    """

    def __init__(self, checkpoint: str = gallery.DEFAULT, *, source: str | None = None) -> None:
        directory = gallery.resolve(checkpoint)
        shipped = {gallery.path(name).resolve(): name for name in gallery.names()}
        self.first = shipped.get(directory.resolve()) or directory.resolve().name
        self._directories = {name: path for path, name in shipped.items()} | {self.first: directory}
        self._source = Source.parse(source) if source is not None else None
        self._loaded: dict[str, Loaded] = {}
        if self._source is None and directory.resolve() not in shipped:
            self._source = Source.parse(str(gallery.episodes(gallery.DEFAULT)))

    @property
    def names(self) -> tuple[str, ...]:
        """The checkpoints that can be played, the first one first."""
        return (self.first, *(name for name in self._directories if name != self.first))

    def load(self, name: str) -> Loaded:
        """Return a checkpoint; the first time it takes seconds.

        Raises:
            ValueError: if there is none of that name, it is damaged, or no start fits it.
        """
        if name not in self._directories:
            raise ValueError(f"no checkpoint named {name!r} (there are: {', '.join(self.names)})")
        if name not in self._loaded:
            simulator = Simulator.from_pretrained(self._directories[name])
            choose_threads(simulator.warm_up)
            self._loaded[name] = self._with_starts(name, simulator)
        return self._loaded[name]

    def _with_starts(self, name: str, simulator: Simulator) -> Loaded:
        source = self._source if name == self.first else None
        if source is None:
            folder = gallery.episodes(name)
            if folder is None:
                raise ValueError(f"{name} comes without episodes to begin from: name some with --from")
            source = Source.parse(str(folder))
        if warning := source.other_game(simulator):
            print(warning, file=sys.stderr)
        starts, settings = _starts(source, simulator, FAVOURITE.get(name))
        return Loaded(name=name, simulator=simulator, starts=starts, settings=settings)


def _starts(
    source: Source, simulator: Simulator, favourite: str | None
) -> tuple[tuple[Start, ...], Mapping[str, Any] | None]:
    """Return starts from different episodes of a source, and the settings of the game that they come from."""
    num_frames = min(NUM_CONTEXT, simulator.window)
    sources = [source]
    if source.kind == "dataset" and source.episode is None:
        lengths = EpisodeDataset(source.place).lengths
        long_enough = [int(index) for index in np.flatnonzero(lengths >= num_frames)][:MAX_STARTS]
        sources = [replace(source, episode=index) for index in long_enough] or [source]
    contexts = [load_context(each, simulator, num_frames=num_frames, horizon=HORIZON, seed=0) for each in sources]
    if favourite and source.kind == "dataset":
        episode, frame = map(int, favourite.split("@"))
        best = replace(source, episode=episode, frame=frame)
        first = load_context(best, simulator, num_frames=num_frames, horizon=HORIZON, seed=0)
        contexts = [first, *(each for each in contexts if each.description["episode"] != episode)]
    starts = tuple(Start(name=_name(context), context=context) for context in contexts)
    origin = contexts[0].origin
    return starts, origin.settings if origin else None


def _name(context: Context) -> str:
    """Return the name of a start: EPISODE@FRAME, or FRAME of a video."""
    episode, frame = context.description.get("episode"), context.description["frame"]
    return f"@{frame}" if episode is None else f"{episode}@{frame}"


def live_context(
    simulator: Simulator, settings: Mapping[str, Any], *, seed: int, open_game: OpenGame = open_game
) -> Context:
    """Return the first frames of a new real game in which nobody presses anything yet.

    Raises:
        ValueError: if the game ends at once.
        GameDiedError: if it does not start.
    """
    names = list(settings["action_names"])
    idle = next((index for index, name in enumerate(names) if name in IDLE), 0)
    with closing(open_game(settings)) as game:
        frames: list[np.ndarray] = [game.reset(seed).frame]
        while len(frames) < min(NUM_CONTEXT, simulator.window):
            step = game.step(idle)
            if step.frame is None or step.terminated or step.truncated:
                raise ValueError("the real game ends before anybody has played")
            frames.append(step.frame)
    actions = np.full(len(frames) - 1, idle, np.int64)
    return Context(
        frames=np.stack(frames),
        actions=translate(actions, names, simulator.action_names),
        description={"env": settings["env"], "seed": seed, "frame": 0},
        origin=Origin(settings=settings, seed=seed, actions=actions),
    )
