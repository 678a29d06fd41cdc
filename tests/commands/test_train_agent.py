"""`worldmodel train-agent` and `test-agent`: an agent is trained, trained further, and plays the real game."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("stable_baselines3")

from tests.worlds import record_toy, save_outcome_simulator, save_simulator
from worldmodel.commands import main

ROOT = Path(__file__).parent.parent.parent
SMALL = ["--set", "games=2", "--set", "n_steps=8", "--set", "batch_size=8", "--set", "n_epochs=1", "--set", "horizon=4"]


def words(tmp_path: Path, out: str, steps: int) -> list[str]:
    checkpoint, data = str(tmp_path / "model"), str(tmp_path / "toy")
    return ["train-agent", "--checkpoint", checkpoint, "--data", data, "--out", out, "--steps", str(steps), *SMALL]


@pytest.mark.slow
def test_train_further_and_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run says what it reached, is not overwritten, goes on with --resume; the table has a row for each player."""
    save_outcome_simulator(tmp_path / "model")
    record_toy(tmp_path / "toy")
    assert main(words(tmp_path, "agent", 32)) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 32
    assert main(words(tmp_path, "agent", 48)) == 1
    assert "already holds an agent; add --resume" in capsys.readouterr().err
    assert main([*words(tmp_path, "agent", 48), "--resume", "--set", "gamma=0.5"]) == 1
    assert "was trained with training" in capsys.readouterr().err
    assert main([*words(tmp_path, "agent", 48), "--resume"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 48
    assert main([*words(tmp_path, "real", 32), "--world", "real"]) == 0
    assert main([*words(tmp_path, "shuffled", 32), "--world", "shuffled"]) == 0
    capsys.readouterr()
    assert main(["test-agent", "agent", "real", "shuffled", "--episodes", "2", "--json", "table.json"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table] == ["player", "random", "agent", "real", "shuffled"]
    rows = json.loads(Path("table.json").read_text())
    assert all(row["seeds"] == [1_000_000, 1_000_001] for row in rows)  # the test split: no training saw them
    assert rows[0]["mean"] == pytest.approx(sum(rows[0]["returns"]) / 2)


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint without heads, a world that is none, a setting that is none, a missing agent."""
    save_simulator(tmp_path / "model")
    record_toy(tmp_path / "toy")
    for extra, code, message in (
        ([], 1, "has no reward and end heads"),
        (["--world", "mars"], 2, "world must be one of"),
        (["--set", "gama=1"], 2, "did you mean 'gamma'?"),
    ):
        assert main([*words(tmp_path, "agent", 32), *extra]) == code
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert main(["test-agent", "nobody"]) == 1
    assert "no agent in nobody" in capsys.readouterr().err
    assert not Path("agent").exists()


@pytest.mark.slow
def test_the_recipe_runs_at_toy_size(tmp_path: Path) -> None:
    """recipes/imagined_agent.sh, from recording to the table, with sizes of a toy; a second run does nothing again."""
    environment = os.environ | {
        "WORLDMODEL": f"{sys.executable} -m worldmodel",
        "PYTHONPATH": "",
        "ENV": "toy",
        "FRAMES": "250",
        "FRAME_SIZE": "32",
        "TOKENIZER_MINUTES": "1",
        "TOKENIZER_FLAGS": "--processes 1 --steps 20 --set codebook_size=16 --set hidden_dim=16 --set residual_dim=8",
        "DYNAMICS_MINUTES": "1",
        "DYNAMICS_FLAGS": "--processes 1 --steps 10 --set clip=5 --set context_dim=48 --set decoder_dim=48 "
        "--set context_layers=1 --set flow_steps=4 --set learned_map=no",
        "STEPS": "32",
        "HORIZON": "6",
        "AGENT_FLAGS": " ".join(SMALL[:-2]),
        "TEMPERATURES": "1",
        "EPISODES": "2",
    }
    command = ["sh", str(ROOT / "recipes" / "imagined_agent.sh"), str(tmp_path / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "" or "player" in done.stdout
    table = (tmp_path / "run" / "table.txt").read_text().splitlines()
    assert len(table) == 5  # random, imagination at one temperature, shuffled, real
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").glob("*/*.json")}
    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr[-2000:]
    assert {file: file.stat().st_mtime_ns for file in files} == files
