"""The recipes make what they say from nothing, by commands of this version, and go on where they were stopped."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from worldmodel.commands import COMMANDS

ROOT = Path(__file__).parent.parent
RECIPES = ("maze.sh", "game.sh")
ECHO = '#!/usr/bin/env bash\nprintf "%s\\n" "$(basename "$0") $*"\n'
TOY = {
    "TRAIN_FRAMES": "120",
    "TEST_FRAMES": "80",
    "TOKENIZER_MINUTES": "0.05",
    "DECODER_MINUTES": "0.05",
    "DYNAMICS_MINUTES": "0.05",
    "STEPS": "1",
    "PROCESSES": "1",
    "CLIPS": "2",
}
QUICK = "--quick --only tokenizer --set processes=1"


def recipe(name: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a recipe with variables of the environment changed."""
    command = ["bash", str(ROOT / "recipes" / name), *words]
    environment = {**os.environ, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """A folder of commands that only say how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("worldmodel", *COMMANDS):
        (folder / name).write_text(ECHO)
        (folder / name).chmod(0o755)
    return folder


def called(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """Return the words of each command that a recipe called."""
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def check(words: list[str]) -> None:
    """Parse a command as it would be."""
    name, rest = (words[1], words[2:]) if words[0] == "worldmodel" else (words[0], words[1:])
    importlib.import_module(f"worldmodel.commands.{COMMANDS[name][0]}").parser(name).parse_args(rest)


def test_the_maze_is_made_by_commands_of_this_version(stubs: Path, tmp_path: Path) -> None:
    """Record, train tokenizer, decoder and dynamics, evaluate: in this order, each given what the one before wrote."""
    commands = called(recipe("maze.sh", BIN=str(stubs), RUNS=str(tmp_path / "runs")))
    for words in commands:
        check(words)
    names = [" ".join(words[:2]) if words[0] == "worldmodel" else words[0] for words in commands]
    steps = ["collect-rollouts"] * 2 + ["train-tokenizer"] * 2 + ["train-dynamics", "worldmodel evaluate"]
    assert names == steps
    folder = tmp_path / "runs" / "maze"
    assert f"init={folder / 'tokenizer'}" in commands[3]
    assert str(folder / "tokenizer-decoder") in commands[4]
    assert str(folder / "dynamics") in commands[5]


def test_a_game_is_made_by_the_shipped_defaults(stubs: Path, tmp_path: Path) -> None:
    """One recipe for every game: only sizes and minutes are set, and the game's own options go to the recording."""
    done = recipe("game.sh", "toy", "toy", "--policy", "random", BIN=str(stubs), RUNS=str(tmp_path / "runs"))
    commands = called(done)
    for words in commands:
        check(words)
    assert [words[words.index("--set") + 1] for words in commands if "--set" in words] == [
        "split=test",
        "activity_weight=8",
    ]
    assert ["--policy" in words for words in commands] == [True, True, False, False, False]


def test_a_stopped_run_is_continued(stubs: Path, tmp_path: Path) -> None:
    """What has a saved state, of its own or of a part that is trained first, is resumed; the rest begins."""
    runs = tmp_path / "runs"
    (runs / "toy" / "tokenizer" / "training").mkdir(parents=True)
    first = called(recipe("game.sh", "toy", "toy", BIN=str(stubs), RUNS=str(runs)))
    assert ["--resume" in words for words in first] == [False, False, True, False, False]
    (runs / "toy" / "dynamics" / "part" / "training").mkdir(parents=True)
    second = called(recipe("game.sh", "toy", "toy", BIN=str(stubs), RUNS=str(runs)))
    assert ["--resume" in words for words in second] == [False, False, True, True, False]


def test_a_failed_step_ends_the_recipe(stubs: Path, tmp_path: Path) -> None:
    """Nothing is trained on what could not be recorded, and the recipe fails."""
    (stubs / "collect-rollouts").write_text("#!/usr/bin/env bash\nexit 3\n")
    done = recipe("game.sh", "toy", "toy", BIN=str(stubs), RUNS=str(tmp_path / "runs"))
    assert done.returncode == 3
    assert done.stdout == ""


def test_a_game_needs_a_name_and_an_id() -> None:
    """Without them the recipe says how it is called, in one line."""
    done = recipe("game.sh", "toy")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: bash recipes/game.sh NAME ENV_ID")
    assert len(done.stderr.splitlines()) == 1


def test_make_pretrained_calls_recipes_that_exist() -> None:
    """Every line of the target is a recipe with options that `collect-rollouts` takes."""
    target = re.search(r"^pretrained:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert target
    lines = [shlex.split(line) for line in target[1].splitlines()]
    lines = [words for words in lines if words[0] == "bash"]
    assert {Path(words[1]).name for words in lines} == set(RECIPES)
    for words in lines:
        assert (ROOT / words[1]).exists()
        name, game = (words[2:4]) if words[1].endswith("game.sh") else ("maze", "")
        options = words[4:] if game else words[2:]
        check(["collect-rollouts", "--env", game or "toy", "--out", name, *options])


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_toy_is_made_from_nothing(name: str, tmp_path: Path) -> None:
    """Each recipe, at toy sizes, leaves a checkpoint that loads, and its numbers."""
    words = ["toy", "toy"] if name == "game.sh" else []
    variables = {**TOY, "BIN": str(Path(sys.executable).parent), "RUNS": str(tmp_path), "EVALUATE": QUICK}
    variables |= {"NAME": "toy", "ENV_ID": "toy", "OMP_NUM_THREADS": "1"}
    recording = ["--policy", "random", "--workers", "1", "--set", "frame_size=32"]
    done = recipe(name, *words, *recording, **variables)
    assert done.returncode == 0, done.stderr
    from worldmodel import Simulator

    assert "noop" in Simulator.from_pretrained(tmp_path / "toy" / "dynamics").action_names
    assert json.loads((tmp_path / "toy" / "evaluated" / "metrics.json").read_text())["answers"].keys() == {"tokenizer"}
