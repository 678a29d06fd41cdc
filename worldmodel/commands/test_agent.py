"""`worldmodel test-agent`: play the real game with trained agents on fresh seeds, beside random play."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import Parser, UsageError

if TYPE_CHECKING:
    from ..environment.agent_scores import Scores
    from ..environment.agents import Agent


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = Parser(prog=prog, description="Play fresh episodes of the real game with agents, beside random play.")
    p.add_argument("agents", nargs="+", metavar="AGENT", help="directories of train-agent, or their agent.zip")
    p.add_argument("--episodes", type=int, default=100, metavar="N", help="how many, the same ones for every player")
    p.add_argument("--seed", type=int, default=0, help="of the first episode; none of these was seen in training")
    p.add_argument("--json", metavar="FILE", help="write every return and the table's numbers there as well")
    return p


def main(args: argparse.Namespace) -> int:
    """Play, and print the table."""
    if args.episodes < 1 or args.seed < 0:
        raise UsageError(f"--episodes must be at least 1 and --seed 0 or more, got {args.episodes} and {args.seed}")
    from ..environment import agents
    from ..environment.agent_scores import table
    from ..rollouts.manifest import write_atomically

    loaded = [agents.load(path) for path in args.agents]
    scores = [_play("random", loaded[0], args, trained=False)]
    scores += [_play(str(path), agent, args) for path, agent in zip(args.agents, loaded, strict=True)]
    print(table(scores))
    if args.json:
        rows = [{**each.summary(), "seeds": each.seeds, "returns": each.returns} for each in scores]
        write_atomically(Path(args.json), (json.dumps(rows, indent=2) + "\n").encode())
    return 0


def _play(name: str, agent: Agent, args: argparse.Namespace, *, trained: bool = True) -> Scores:
    """Return the scores of an agent, or of random play in its game."""
    from rich.console import Console
    from rich.progress import Progress

    from ..environment.agent_scores import play, player, random_player
    from ..environment.real_game import RealGameEnv

    spec = agent.spec
    act = player(agent) if trained else random_player(len(spec.action_names))
    env = RealGameEnv(spec.settings, agent.observer, action_names=spec.action_names, context_frames=spec.context_frames)
    with closing(env), Progress(console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task(name, total=args.episodes)
        return play(name, act, env, episodes=args.episodes, seed=args.seed, on_episode=lambda: progress.advance(task))
