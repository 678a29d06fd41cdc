"""`worldmodel train-agent`: train an agent in imagination, or in the real game to compare."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .cli import Parser, add_settings, override


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    p = Parser(prog=prog, description="Train an agent in imagination alone, with Stable-Baselines3's PPO.")
    p.add_argument("--checkpoint", required=True, metavar="NAME|DIR",
                   help="a dynamics checkpoint with reward and end heads, or a name of the gallery")  # fmt: skip
    p.add_argument("--data", required=True, metavar="DIR", help="recordings whose beginnings the episodes begin with")
    p.add_argument("--out", required=True, metavar="DIR", help="where the agent goes: agent.zip and agent.json")
    p.add_argument("--steps", type=int, default=50_000, help="train so many steps, of all games together")
    p.add_argument("--world", default="imagination", help="imagination, real, or shuffled (meaningless actions)")
    p.add_argument("--seed", type=int, default=0, help="of the policy, the games and the batches")
    p.add_argument("--resume", action="store_true", help="train the agent in --out further, up to --steps")
    add_settings(p, "change any setting")
    return p


def main(args: argparse.Namespace) -> int:
    """Train, and print where the agent is and what its last episodes brought."""
    try:
        from ..training.agent import AgentConfig, train_agent
    except ImportError as error:
        raise ValueError(f"train-agent needs Stable-Baselines3: pip install -e '.[rl]' ({error})") from None
    from ..training.loop import Interrupted

    config = override(AgentConfig(), args.set, flags={"steps": args.steps, "world": args.world, "seed": args.seed})
    try:
        result = train_agent(args.checkpoint, args.data, Path(args.out), config, resume=args.resume)
    except Interrupted as stop:
        print(f"stopped by {stop}; the agent is saved: repeat the command with --resume to continue", file=sys.stderr)
        return 128 + stop.number
    print(json.dumps(result))
    return 0
