"""The merge command."""

from __future__ import annotations

import pytest

from worldmodel.commands import main

TOY = ["--env", "toy", "--episodes", "5", "--workers", "1"]


def record(out: str, *settings: str) -> int:
    return main(["collect-rollouts", "--out", out, *TOY, "--set", "frame_size=16", *settings])


def test_prints_the_hash_of_one_machine(capsys: pytest.CaptureFixture[str]) -> None:
    """The last line is the hash that one machine's recording prints; a shard says which one it is."""
    for index in (0, 1):
        assert record(f"shard-{index}", f"shard_index={index}", "num_shards=2") == 0
        assert f"shard     {index} of 2, 5 episodes in all" in capsys.readouterr().out
    assert main(["merge", "--out", "merged", "shard-0", "shard-1"]) == 0
    merged = capsys.readouterr().out
    assert record("whole") == 0
    assert merged == capsys.readouterr().out.replace("whole:", "merged:")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["merge", "--out", "merged", "shard-0"], 1, "shard 1 of 2 is missing"),
        (["merge", "--out", "merged", "nothing"], 1, "no data set in nothing"),
        (["collect-rollouts", "--out", "d", *TOY, "--set", "num_shards=0"], 2, "num_shards must be at least 1"),
        (["collect-rollouts", "--out", "d", *TOY, "--set", "num_shards=9"], 1, "cannot be shared by 9 shards"),
        (["collect-rollouts", "--out", "d", "--env", "toy", "--set", "num_shards=2"], 1, "number of episodes"),
    ],
)
def test_mistakes_get_one_line(words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake is one line and no data set."""
    assert record("shard-0", "num_shards=2") == 0
    capsys.readouterr()
    assert main(words) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip() and "recording" not in line]
    assert len(lines) == 1
    assert message in lines[0]
