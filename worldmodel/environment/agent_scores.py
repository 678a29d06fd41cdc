"""How agents do in the real game: returns of fresh episodes, and their means with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..evaluation.metrics.intervals import bootstrap
from ..rollouts.config import SPLITS
from .agents import Agent
from .real_game import RealGameEnv

DRAWS = 10_000

Act = Callable[[np.ndarray, np.random.Generator], int]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Returns of one player: of the real game's episodes of these seeds.

    Attributes:
        training_return: the mean of an agent's last episodes in training, in the world it was trained in.
    """

    name: str
    seeds: tuple[int, ...]
    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    training_return: float | None = None

    def summary(self) -> dict[str, Any]:
        """Return the mean return, its 95% interval, its spread and the mean length, as JSON values."""
        mean = bootstrap(np.array(self.returns), np.random.default_rng(0), draws=DRAWS)
        interval = {"mean": mean.number, "low": mean.low, "high": mean.high}
        spread, length = float(np.std(self.returns)), float(np.mean(self.lengths))
        counts = {"name": self.name, "episodes": len(self.returns), "training_return": self.training_return}
        return counts | {**interval, "std": spread, "length": length}


def random_player(num_actions: int) -> Act:
    """Return a player that does any action."""
    return lambda observation, rng: int(rng.integers(num_actions))


def player(agent: Agent) -> Act:
    """Return a player that draws from an agent's policy, as it did in training."""
    return lambda observation, rng: int(agent.act(observation[None], rng)[0])


def play(
    name: str, act: Act, env: RealGameEnv, *, episodes: int, seed: int, on_episode: Callable[[], None] = lambda: None
) -> Scores:
    """Play the real game's episodes `seed`, `seed` + 1, ... of the test split, which no training has seen.

    Every player gets the same episodes with the same beginnings. One that ends before a player could take over is left
    out for the next.
    """
    seeds, returns, lengths, following = [], [], [], SPLITS["test"] + seed
    for _ in range(episodes):
        observation, info = env.reset(options={"game_seed": following})
        following = info["game_seed"] + 1
        rng = np.random.default_rng([info["game_seed"], 2])
        total, steps, ended = 0.0, 0, False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(act(observation, rng))
            total, steps, ended = total + reward, steps + 1, terminated or truncated
        seeds.append(info["game_seed"])
        returns.append(total)
        lengths.append(steps)
        on_episode()
    return Scores(name=name, seeds=tuple(seeds), returns=tuple(returns), lengths=tuple(lengths))


def table(scores: Sequence[Scores]) -> str:
    """Return one line a player: mean return with its 95% interval, spread, length, episodes, and that in training."""
    lines = [f"{'player':<32} {'return':>9} {'95% interval':>20} {'std':>8} {'steps':>7} {'n':>5} {'in training':>12}"]
    for each in (one.summary() for one in scores):
        interval = f"{each['low']:.1f} to {each['high']:.1f}"
        mean, length = f"{each['mean']:9.1f} {interval:>20} {each['std']:8.1f}", f"{each['length']:7.1f}"
        own = "-" if each["training_return"] is None else f"{each['training_return']:.1f}"
        lines.append(f"{each['name']:<32} {mean} {length} {each['episodes']:5d} {own:>12}")
    return "\n".join(lines)
