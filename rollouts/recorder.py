"""Plays one episode with a policy and keeps what was shown."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..envs import Game, Observation, Step
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
    player = make_policy(policy, game.action_names, np.random.default_rng([policy_seed, seed]), walls=first.walls)
    shown: list[Observation | Step] = [first]
    actions: list[int] = []
    terminated = truncated = False
    while not (terminated or truncated):
        if stopped():
            return None
        action = player.act(shown[-1].variables)
        step = game.step(action)
        terminated, truncated = step.terminated, step.truncated
        if step.frame is not None:
            actions.append(action)
            shown.append(step)
        truncated = truncated or (not terminated and len(shown) >= MAX_FRAMES)
    return Episode(
        frames=np.stack([item.frame for item in shown if item.frame is not None]),
        actions=np.array(actions, dtype=np.int64),
        rewards=np.array([item.reward for item in shown if isinstance(item, Step)], dtype=np.float32),
        terminated=terminated,
        truncated=truncated,
        variables={name: np.array([item.variables[name] for item in shown]) for name in shown[0].variables},
        seed=seed,
    )
