"""Plays one episode with a policy and keeps what was shown."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..envs import Game
from .episode import Episode
from .policies import make_policy

MAX_FRAMES = 1024  # of an episode; a game that goes on is truncated here


def record_episode(
    game: Game, seed: int, *, policy: str, policy_seed: int, stopped: Callable[[], bool] = lambda: False
) -> Episode | None:
    """Return the episode of `seed` as `policy` plays it, None if `stopped()` came true meanwhile.

    A step that shows no frame (ViZDoom's end of an episode) is dropped, together with the action that led to it.

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
    )
    frames = np.empty((MAX_FRAMES, *first.frame.shape), dtype=np.uint8)  # memory is taken only where it is written
    frames[0] = first.frame
    variables = [first.variables]
    actions: list[int] = []
    rewards: list[float] = []
    terminated = truncated = False
    while not (terminated or truncated):
        if stopped():
            return None
        action = player.act(variables[-1])
        step = game.step(action)
        terminated, truncated = step.terminated, step.truncated
        if step.frame is not None:
            actions.append(action)
            rewards.append(step.reward)
            variables.append(step.variables)
            frames[len(actions)] = step.frame
        truncated = truncated or (not terminated and len(actions) + 1 == MAX_FRAMES)
    return Episode(
        frames=frames[: len(actions) + 1],
        actions=np.array(actions, dtype=np.int64),
        rewards=np.array(rewards, dtype=np.float32),
        terminated=terminated,
        truncated=truncated,
        variables={name: np.array([values[name] for values in variables]) for name in first.variables},
        seed=seed,
    )
