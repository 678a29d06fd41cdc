"""Where the context comes from: a data set, one of its episodes, a video, or a game that is played now.

The text form of `--from`, with `@FRAME` after any of them for the frame the context begins with:

    DIR                     a data set: the seed chooses the episode
    DIR:EPISODE             an episode by its number
    DIR/episode-N.parquet   an episode by its file
    video.mp4               the frames of any video, without actions
    env:ID                  a new episode of a game, e.g. env:VizdoomMyWayHome-v1, played by the explorer
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..envs.picture import aspect_of
from ..rollouts import Episode, EpisodeDataset
from ..rollouts.manifest import read_info
from ..video.mp4 import read_video

LIVE = "env:"
LIVE_POLICY = "explore"
TEST_SEEDS = 1_000_000  # a live game is played with the seeds that training never sees
BEST_SHARE = 4  # one of so many starts is good enough to be chosen; the very best are all one busy room
MAX_CANDIDATES = 8  # episodes among whose starts the seed draws


class Model(Protocol):
    """What a source has to know about the simulator it is for."""

    @property
    def action_names(self) -> tuple[str, ...]: ...
    @property
    def frame_size(self) -> int: ...
    @property
    def frame_skip(self) -> int: ...
    @property
    def frames_per_second(self) -> float: ...
    @property
    def env(self) -> str | None: ...


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What reproduces a context in the real game: its settings, the seed, and the actions up to the last context frame.

    `actions` are indices into the action names of `settings`.
    """

    settings: Mapping[str, Any]
    seed: int
    actions: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Context:
    """Real frames to start from.

    Attributes:
        frames: uint8 (t, H, W, 3).
        actions: int64 (t-1,), the model's index of what was done between them, -1 where it is not known.
        description: where they come from, as JSON values.
        origin: how the real game comes to the same state, None for a video.
    """

    frames: np.ndarray
    actions: np.ndarray
    description: Mapping[str, Any]
    origin: Origin | None = None

    @property
    def aspect(self) -> float:
        """Width over height of the picture that the game draws, where all of it was squashed to a square; else 1."""
        return aspect_of(self.origin.settings) if self.origin else 1.0


@dataclass(frozen=True, kw_only=True)
class Source:
    """A parsed `--from`: `kind` is "dataset", "video" or "env"; `place` its path or id."""

    kind: str
    place: str
    episode: int | None = None
    frame: int | None = None

    @classmethod
    def parse(cls, text: str) -> Source:
        """Return what `text` names.

        Raises:
            ValueError: if there is nothing of that name.
        """
        place, at, number = text.rpartition("@")
        if at and number.isdecimal():
            return replace(cls._place(place), frame=int(number))
        return cls._place(text)

    def other_game(self, model: Model) -> str | None:
        """Return one line that says so where this is of another game than the model was trained on; else None.

        Raises:
            ValueError: if the data set is damaged.
        """
        if self.kind == "video":
            return None
        env = self.place if self.kind == "env" else read_info(Path(self.place)).env
        return other_game(LIVE + env if self.kind == "env" else self.place, env, model)

    @classmethod
    def _place(cls, text: str) -> Source:
        if text.startswith(LIVE):
            return cls(kind="env", place=text.removeprefix(LIVE))
        path = Path(text)
        if path.is_dir():
            return cls(kind="dataset", place=text)
        numbered = re.fullmatch(r"(.*?)episode-([0-9]+)\.parquet", text)
        if path.is_file() and numbered:
            return cls(kind="dataset", place=str(path.parent), episode=int(numbered[2]))
        if path.is_file():
            return cls(kind="video", place=text)
        directory, colon, number = text.rpartition(":")
        if colon and number.isdecimal() and Path(directory).is_dir():
            return cls(kind="dataset", place=directory, episode=int(number))
        raise ValueError(f"no data set, episode or video at {text} (a live game is written {LIVE}ID)")


def load_context(source: Source, model: Model, *, num_frames: int, horizon: int, seed: int) -> Context:
    """Return `num_frames` frames of `source` that fit `model`.

    Where no frame is named, the seed draws the start among those where most moves, in the context and, as far as it
    is recorded, over the `horizon` that follows.

    Raises:
        ValueError: if the source is damaged, too short, or does not fit the model.
    """
    if source.kind == "video":
        frames = read_video(source.place, frame_size=model.frame_size, frames_per_second=model.frames_per_second)
        _, start = _start(source, {0: view_changes(frames)}, num_frames, horizon, seed)
        return Context(
            frames=frames[start : start + num_frames],
            actions=np.full(num_frames - 1, -1, np.int64),
            description={"video": source.place, "frame": start},
        )
    if source.kind == "env":
        settings, episode = _play(source.place, model, seed)
        episodes = {0: episode}
    else:
        dataset = EpisodeDataset(source.place)
        settings = dataset.info.settings
        check_fit(settings, model, source.place)
        episodes = {index: dataset.episode(index) for index in _candidates(dataset, source, num_frames, seed)}
    motions = {index: motion(episode) for index, episode in episodes.items()}
    index, start = _start(source, motions, num_frames, horizon, seed)
    episode = episodes[index]
    past = episode.actions[: start + num_frames - 1]
    return Context(
        frames=episode.frames[start : start + num_frames],
        actions=translate(past[start:], settings["action_names"], model.action_names),
        description={source.kind: source.place, "episode": index, "seed": episode.seed, "frame": start},
        origin=Origin(settings=settings, seed=episode.seed, actions=past),
    )


def _play(env_id: str, model: Model, seed: int) -> tuple[Mapping[str, Any], Episode]:
    """Return the settings of a live game and one episode of it, at the model's size and speed."""
    from ..envs import make_env
    from ..rollouts.recorder import record_episode

    with closing(make_env(env_id, frame_skip=model.frame_skip, frame_size=model.frame_size)) as game:
        episode = record_episode(game, TEST_SEEDS + seed, policy=LIVE_POLICY, policy_seed=seed)
        assert episode is not None  # nothing stops the recorder
        return dict(game.settings), episode


def _candidates(dataset: EpisodeDataset, source: Source, num_frames: int, seed: int) -> list[int]:
    """Return the episode that is named, or a few that `seed` draws among those that are long enough."""
    if source.episode is not None:
        if source.episode >= len(dataset):
            raise ValueError(f"{source.place} has episodes 0 to {len(dataset) - 1}, not {source.episode}")
        return [source.episode]
    needed = num_frames + (source.frame or 0)
    long_enough = np.flatnonzero(dataset.lengths >= needed)
    if not len(long_enough):
        longest = int(dataset.lengths.max(initial=0))
        raise ValueError(
            f"{source.place} has no episode of {needed} frames for the context; its longest has {longest}: "
            "use a shorter --context or an earlier @FRAME"
        )
    drawn = np.random.default_rng(seed).permutation(long_enough)
    return [int(index) for index in drawn[: 1 if source.frame is not None else MAX_CANDIDATES]]


def other_game(place: str | Path, env: str, model: Model) -> str | None:
    """Return one line that says so where frames of the game `env` are for a model of another game; else None.

    A variant of a game may be meant, so that this is no error. A model of an older version does not say its game.
    """
    if model.env is None or _game_id(env) == _game_id(model.env):
        return None
    return f"{place} is of {env}, the checkpoint was trained on {model.env}; name another unless this is meant"


def _game_id(env: str) -> str:
    """Return an environment's id without the module that registers it."""
    return env.rpartition(":")[2]


def check_fit(settings: Mapping[str, Any], model: Model, place: str) -> None:
    for name, expected in (("frame_size", model.frame_size), ("frame_skip", model.frame_skip)):
        if settings[name] != expected:
            raise ValueError(
                f"{place} has {name} {settings[name]}, the model was trained with {expected}; "
                f"record with --set {name}={expected}"
            )


def check_actions(names: Sequence[str], model_names: Sequence[str], place: str) -> None:
    """Raise ValueError if a data set has an action that the model does not know."""
    if unknown := sorted(set(names) - set(model_names)):
        raise ValueError(
            f"{place} has the action {unknown[0]!r}, which the model does not know ({', '.join(model_names)})"
        )


def translate(actions: np.ndarray, names: Sequence[str], model_names: Sequence[str]) -> np.ndarray:
    """Return the model's index of each action, by name."""
    unknown = sorted({names[action] for action in actions} - set(model_names))
    if unknown:
        raise ValueError(f"the context does {unknown[0]!r}, which the model does not know ({', '.join(model_names)})")
    return np.array([model_names.index(names[action]) for action in actions], dtype=np.int64)


def _start(
    source: Source, motions: Mapping[int, np.ndarray], num_frames: int, horizon: int, seed: int
) -> tuple[int, int]:
    """Return the episode, a key of `motions`, and the frame in it that the context begins with."""
    index, first = next(iter(motions.items()))
    length = len(first) + 1
    if num_frames > length:
        raise ValueError(
            f"a context of {num_frames} frames is longer than {source.place}, which has {length}; use a shorter one"
        )
    if source.frame is None:
        return moving_start(motions, num_frames, horizon=horizon, seed=seed)
    if source.frame + num_frames > length:
        reach = f"at most at {length - num_frames}"
        raise ValueError(f"a context of {num_frames} of {length} frames cannot begin at {source.frame}; {reach}")
    return index, source.frame


def moving_start(motions: Mapping[int, np.ndarray], num_frames: int, *, horizon: int, seed: int) -> tuple[int, int]:
    """Return an episode and a start in it from which all keeps moving, drawn by `seed` from the best quarter.

    A start is as good as its stillest step, so that no frame of the figure shows the one before it again.
    `motions` holds how much moves in each step of an episode, float (t-1,); each is at least `num_frames` - 1 long.
    """
    scored: list[tuple[float, int, int]] = []
    for index, steps in motions.items():
        for start in range(max(1, len(steps) + 2 - num_frames - horizon)):
            stillest = steps[start : start + num_frames + horizon - 1].min(initial=np.inf)
            scored.append((-float(stillest), index, start))
    scored.sort()
    best = scored[: max(1, len(scored) // BEST_SHARE)]
    _, index, start = best[int(np.random.default_rng(seed).integers(len(best)))]
    return index, start


def motion(episode: Episode) -> np.ndarray:
    """Return how much moves in each step, float (t-1,): the change of the view, weighted by the way gone if known.

    Without the weight the best starts are turns on the spot, from which few ways are free.
    """
    change = view_changes(episode.frames)
    if {"position_x", "position_y"} <= episode.variables.keys():
        way = np.hypot(np.diff(episode.variables["position_x"]), np.diff(episode.variables["position_y"]))
        change = change * way / max(way.max(initial=0), 1e-9)
    return change


def view_changes(frames: np.ndarray) -> np.ndarray:
    """Return how much each frame differs from the one before it, float32 (t-1,), in grey levels of 16x16 blocks.

    Of blocks, as a wall whose texture moves is no view.
    """
    height, width = frames.shape[1:3]
    rows, columns = np.arange(0, height, max(1, height // 16)), np.arange(0, width, max(1, width // 16))
    blocks = np.stack([np.add.reduceat(np.add.reduceat(f, rows, 0, np.float32), columns, 1) for f in frames])
    blocks *= len(rows) * len(columns) / (height * width)
    return np.abs(np.diff(blocks, axis=0)).mean(axis=(1, 2, 3))
