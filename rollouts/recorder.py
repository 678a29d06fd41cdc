"""Plays one episode with a policy and shows or keeps what happened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..envs import Game
from .episode import Episode
from .policies import make_policy

MAX_FRAMES = 1024  # of an episode; a game that goes on is truncated here


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One frame of an episode, and the action and reward that led to it; the first has no action.

    `frame` is None where the game ended without showing one (ViZDoom does): action, reward and end are known.
    """

    frame: np.ndarray | None
    variables: Mapping[str, float]
    action: int | None = None
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False


def play_episode(game: Game, seed: int, *, policy: str, policy_seed: int) -> Iterator[Moment]:
    """Yield the episode of `seed` as `policy` plays it; the last moment is terminated or truncated.

    Raises:
        GameDiedError: if the game died; the same call with a new game gives the same episode.
    """
    first = game.reset(seed)
    player = make_policy(
        policy,
        game.action_names,
        np.random.default_rng([policy_seed, seed]),
        walls=first.walls,
        frame_skip=game.settings["frame_skip"],
        game=game,
    )
    moment = Moment(frame=first.frame, variables=first.variables)
    yield moment
    for shown in range(2, MAX_FRAMES + 1):
        action = player.act(moment.variables, frame=moment.frame)
        step = game.step(action)
        moment = Moment(
            frame=step.frame,
            variables=step.variables,
            action=action,
            reward=step.reward,
            terminated=step.terminated,
            truncated=step.truncated or (shown == MAX_FRAMES and not step.terminated),
        )
        yield moment
        if moment.terminated or moment.truncated:
            return


def record_episode(game: Game, seed: int, *, policy: str, policy_seed: int) -> Episode:
    """Return the episode of `seed` as `policy` plays it.

    Raises:
        GameDiedError: if the game died.
    """
    return to_episode(list(play_episode(game, seed, policy=policy, policy_seed=policy_seed)), seed)


def to_episode(moments: Sequence[Moment], seed: int) -> Episode:
    """Return the episode of `seed` that these moments are.

    A last step that shows no frame is the episode's final action.
    """
    shown = [moment for moment in moments if moment.frame is not None]
    final = moments[-1] if moments[-1].frame is None else None
    return Episode(
        frames=np.stack([moment.frame for moment in shown if moment.frame is not None]),
        actions=np.array([moment.action for moment in shown[1:]], dtype=np.int64),
        rewards=np.array([moment.reward for moment in shown[1:]], dtype=np.float32),
        terminated=moments[-1].terminated,
        truncated=moments[-1].truncated,
        variables={name: np.array([moment.variables[name] for moment in shown]) for name in shown[0].variables},
        seed=seed,
        final_action=None if final is None else final.action,
        final_reward=0.0 if final is None else final.reward,
    )
