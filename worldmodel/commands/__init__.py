"""The console commands. Each module has `parser()` and `main(args)`; nothing heavy is imported before it is needed."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from .cli import USAGE_ERROR, run, suggest
from .libraries import prepare_libraries

# Command -> (module, one line of help). The module is imported only when its command is called.
COMMANDS = {
    "collect-rollouts": ("collect_rollouts", "record episodes from a game"),
    "merge": ("merge", "join the shards of a data set that were recorded apart"),
    "import": ("import_recordings", "make a data set of videos or pictures with actions, or of LeRobot's"),
    "export": ("export", "write a data set as videos, pictures, or LeRobot's layout"),
    "export-web": ("export_web", "write a page that plays a checkpoint in the browser alone"),
    "train-tokenizer": ("train_tokenizer", "stage 1: learn to turn frames into codes and back"),
    "train-dynamics": ("train_dynamics", "stage 2: learn which codes follow which, given the actions"),
    "imagine": ("imagine", "imagine the future of a game under your actions, as videos"),
    "play": ("play", "play the world model in the browser with your own keys"),
    "gallery": ("gallery", "list the checkpoints that come with the package"),
    "evaluate": ("evaluate", "measure a checkpoint on held-out episodes, beside its baselines"),
    "compare": ("compare", "two evaluations side by side, and which differences are more than chance"),
    "inspect": ("inspect", "say what is in a data set or checkpoint, and whether it is intact"),
    "convert": ("convert", "write a checkpoint in the present layout, with smaller weights if asked"),
    "preview": ("preview", "draw a contact sheet and a video of a data set's episodes"),
    "train-agent": ("train_agent", "train an agent in imagination alone"),
    "test-agent": ("test_agent", "play the real game with trained agents on fresh seeds"),
    "benchmark": ("benchmark", "measure speed"),
}


def call(name: str, argv: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """Run the command `name` on `argv` (default: the process's own arguments) and return its exit code."""
    prog = prog or name
    prepare_libraries()

    def command() -> int | None:
        module = importlib.import_module(f".{COMMANDS[name][0]}", __name__)
        words = list(sys.argv[1:] if argv is None else argv)
        asked = argparse.Namespace(words=[name, *words])  # for those who start themselves again in other processes
        result: int | None = module.main(module.parser(prog).parse_args(words, asked))
        return result

    return run(prog, command)


def main(argv: Sequence[str] | None = None) -> int:
    """The `worldmodel` command: its first argument names the command to run."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in {"-h", "--help"}:
        print("usage: worldmodel COMMAND ...\n\nA video world-model simulator.\n\ncommands:")
        for name, (_, summary) in COMMANDS.items():
            print(f"  {name:<17} {summary}")
        print("\nworldmodel COMMAND --help tells more.")
        return 0
    if words[0] not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"worldmodel: no command {words[0]!r}{suggest(words[0], COMMANDS)} (commands: {known})", file=sys.stderr)
        return USAGE_ERROR
    return call(words[0], words[1:], prog=f"worldmodel {words[0]}")


def collect_rollouts() -> int:
    return call("collect-rollouts")


def train_tokenizer() -> int:
    return call("train-tokenizer")


def train_dynamics() -> int:
    return call("train-dynamics")


def imagine() -> int:
    return call("imagine")
