"""The command line as a whole: every command explains itself, cheaply, with the flags that are promised."""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys

import pytest

from worldmodel.commands import COMMANDS, main

# Frozen: a flag that is added, renamed or removed is a decision, and this list changes with it.
FLAGS = {
    "collect-rollouts": "--env --env-set --episodes --frames --out --policy --ray --set --workers",
    "merge": "--out",
    "import": "--out --set",
    "export": "--format --out",
    "export-web": "--checkpoint --from --out --runtime",
    "train-tokenizer": "--data --minutes --out --processes --resume --seed --set --steps --tokenizer-kind",
    "train-dynamics": "--data --minutes --out --processes --resume --seed --set --steps --tokenizer",
    "imagine": "--action --checkpoint --context --from --no-map --out --seed --set --steps --truth",
    "play": "--checkpoint --from --no-browser --out --port --window",
    "gallery": "",
    "evaluate": "--checkpoint --clips --data --only --out --quick --seed --set",
    "compare": "",
    "inspect": "",
    "convert": "--half --int8",
    "preview": "--episodes --frames --out",
    "train-agent": "--checkpoint --data --out --resume --seed --set --steps --world",
    "test-agent": "--episodes --json --seed",
    "benchmark imagine": "--batch --checkpoint --engine --from --json --observation --repeats --starts --steps",
    "benchmark train": "--compile --json --repeats --set --stage --steps",
    "benchmark collect": "--env --episodes --json --repeats --workers",
    "benchmark play": "--checkpoint --frames --from --json --repeats --view",
    "benchmark load": "--data --json --repeats --threads --window --windows",
}
HELP_WITHOUT_TORCH = """
import sys
from worldmodel.commands import COMMANDS, main
for name in COMMANDS:
    try:
        main([name, "--help"])
    except SystemExit as stop:
        assert stop.code == 0, (name, stop.code)
    loaded = {"torch", "vizdoom", "av", "PIL"} & set(sys.modules)
    assert not loaded, (name, loaded)
"""


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of every command, and of every mode of a command that has modes."""
    found = {}
    for name, (module, _) in COMMANDS.items():
        parser = importlib.import_module(f"worldmodel.commands.{module}").parser(name)
        modes = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        choices = modes[0].choices if modes else {}
        found |= {f"{name} {mode}": child for mode, child in choices.items()} or {name: parser}
    return found


def test_help_of_every_command_is_quick() -> None:
    """`--help` exits 0 and imports neither torch, nor an engine, nor a codec."""
    done = subprocess.run([sys.executable, "-c", HELP_WITHOUT_TORCH], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: ") == len(COMMANDS)


@pytest.mark.parametrize("name", FLAGS)
def test_flags_are_frozen(name: str) -> None:
    """A command has exactly the flags in the list above, each with help."""
    actions = [action for action in parsers()[name]._actions if action.dest != "help"]
    flags = sorted(option for action in actions for option in action.option_strings)
    assert flags == FLAGS[name].split()
    assert all(action.help for action in actions)


@pytest.mark.parametrize("name", FLAGS)
def test_flags_are_few(name: str) -> None:
    """At most eight flags a command, beside those that mean the same everywhere: `--set`, `--seed` and `--json`."""
    assert len(set(FLAGS[name].split()) - {"--set", "--seed", "--json"}) <= 8


def test_every_command_is_frozen() -> None:
    """No command is missing from the list, and none in it has gone."""
    assert parsers().keys() == FLAGS.keys()


def test_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`worldmodel` alone lists the commands and what they do."""
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed and summary in listed for name, (_, summary) in COMMANDS.items())


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    """A typo gets exit code 2, the nearest command and the list."""
    assert main(["imagin"]) == 2
    error = capsys.readouterr().err
    assert "did you mean 'imagine'?" in error
    assert all(name in error for name in COMMANDS)
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_no_default_that_is_none(name: str) -> None:
    """A flag without a default says what happens without it, not `None` or nothing."""
    text = importlib.import_module(f"worldmodel.commands.{COMMANDS[name][0]}").parser(name).format_help()
    assert not re.search(r"default:\s+(None)?\)", text)
