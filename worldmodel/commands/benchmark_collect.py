"""`worldmodel benchmark collect`: the whole recording, the engine with the crop, and the bare engine, in one run."""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from .benchmark import Measurement

if TYPE_CHECKING:
    from ..envs.vizdoom.game import VizdoomGame
    from ..rollouts import CollectConfig, Episode

Play = Callable[["VizdoomGame", Sequence[int]], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the mode's own arguments."""
    parser.add_argument("--env", default="VizdoomMyWayHome-v1", metavar="ID", help="a ViZDoom id")
    parser.add_argument("--episodes", type=int, default=16, metavar="N", help="of a run")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), metavar="N", help="games played at once")


def measure(args: argparse.Namespace) -> Measurement:
    """Return frames/s of every run; all kinds play the same episodes with the same actions, workers and cores.

    Raises:
        ValueError: if the environment has no engine, or the numbers cannot be.
    """
    from ..rollouts import CollectConfig

    if not args.env.startswith("Vizdoom"):
        raise ValueError(f"only ViZDoom has an engine to compare with, got {args.env}")
    if args.episodes < 1 or args.workers < 1:
        raise ValueError(f"episodes and workers must be at least 1, got {args.episodes} and {args.workers}")
    config = CollectConfig(env=args.env)
    speeds: dict[str, list[float]] = {"recording": [], "engine and crop": [], "bare engine": []}
    with tempfile.TemporaryDirectory(prefix="worldmodel-benchmark-") as scratch:
        episodes: list[Episode] = []
        for repeat in range(args.repeats):
            path = Path(scratch) / str(repeat)
            speed = _record(config, path, num_episodes=args.episodes, workers=args.workers)
            episodes = episodes or _load(path)
            speeds["recording"].append(speed)
            speeds["engine and crop"].append(_play(config, episodes, workers=args.workers, play=_steps))
            speeds["bare engine"].append(_play(config, episodes, workers=args.workers, play=_bare_steps))
    return Measurement(speeds=speeds, compares=True)


def _record(config: CollectConfig, path: Path, *, num_episodes: int, workers: int) -> float:
    """Return the frames/s of a whole recording, counted from the moment the first engine runs."""
    from ..rollouts import EpisodeDataset, Goal, collect

    began: list[float] = []
    collect(
        config,
        path,
        goal=Goal(episodes=num_episodes),
        workers=workers,
        on_start=lambda records: began.append(time.perf_counter()),
    )
    return float(EpisodeDataset(path).lengths.sum() / (time.perf_counter() - began[0]))


def _load(path: Path) -> list[Episode]:
    from ..rollouts import EpisodeDataset

    dataset = EpisodeDataset(path)
    return [dataset.episode(index) for index in range(len(dataset))]


def _play(config: CollectConfig, episodes: list[Episode], *, workers: int, play: Play) -> float:
    """Return the frames/s of playing the actions of `episodes`, counted as in `_record`."""
    from ..envs import Game

    numbers = itertools.count()
    first: Game = config.make_game(own_process=False)

    def work(game: Game | None) -> None:
        with closing(game or config.make_game(own_process=False)) as mine:
            while (index := next(numbers)) < len(episodes):
                mine.reset(episodes[index].seed)
                play(mine, episodes[index].actions.tolist())  # type: ignore[arg-type]

    games = [first, *[None] * (workers - 1)]
    threads = [threading.Thread(target=work, args=(game,)) for game in games]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(len(episode.frames) for episode in episodes) / (time.perf_counter() - began)


def _steps(game: VizdoomGame, actions: Sequence[int]) -> None:
    for action in actions:
        game.step(action)


def _bare_steps(game: VizdoomGame, actions: Sequence[int]) -> None:
    for action in actions:
        game.bare_step(action)
