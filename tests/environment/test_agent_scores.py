"""How agents do in the real game: every player plays the same fresh episodes, each of them once."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from worldmodel.environment.agent_scores import play, random_player, table
from worldmodel.environment.real_game import RealGameEnv

ENDS_AT_ONCE = {1_000_001, 1_000_002, 1_000_005}  # before a player could take over


class Games:
    """A game of two steps, in place of the real one; it brings the number of its seed."""

    def reset(self, *, options: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        self.seed, self.steps = options["game_seed"], 0
        while self.seed in ENDS_AT_ONCE:
            self.seed += 1
        return np.zeros(1), {"game_seed": self.seed}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return np.zeros(1), self.seed - 1_000_000, self.steps == 2, False, {}


def test_no_episode_is_played_twice() -> None:
    """One that ends before a player could take over is left out, and none is counted in its place again."""
    env = cast(RealGameEnv, Games())
    scores = play("random", random_player(3), env, episodes=5, seed=0)
    assert scores.seeds == (1_000_000, 1_000_003, 1_000_004, 1_000_006, 1_000_007)
    assert scores.returns == (0, 6, 8, 12, 14)
    assert scores.lengths == (2,) * 5
    assert play("another", lambda seen, rng: 0, env, episodes=5, seed=0).seeds == scores.seeds


def test_the_table_says_mean_and_interval() -> None:
    """The mean return stands between the ends of its interval."""
    scores = play("random", random_player(3), cast(RealGameEnv, Games()), episodes=5, seed=0)
    summary = scores.summary()
    assert summary["low"] <= summary["mean"] == 8 <= summary["high"]
    assert "8.0" in table([scores]).splitlines()[1]
