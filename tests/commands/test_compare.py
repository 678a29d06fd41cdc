"""`worldmodel compare`: side by side, with what is more than chance; other clips are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worldmodel.commands import main
from worldmodel.evaluation.harness.run import SCHEMA


def write(path: Path, values: np.ndarray, *, seed: int = 0) -> str:
    """Write the metrics of an evaluation with these values clip by clip, and return its directory."""
    path.mkdir()
    metrics: dict[str, Any] = {
        "schema": SCHEMA,
        "data": {"fingerprint": "d" * 64},
        "settings": {"clips": len(values), "context": 6, "seed": seed, "quick": False},
        "answers": {"fidelity": {"scalars": {"score": float(values.mean())}, "clips": {"model": values.tolist()}}},
    }
    (path / "metrics.json").write_text(json.dumps(metrics))
    return str(path)


def test_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both values, their difference, its interval and its p are printed."""
    values = np.random.default_rng(0).normal(20, 5, 40).round(4)
    first, second = write(tmp_path / "a", values), write(tmp_path / "b", values + 1.5)
    assert main(["compare", first, f"{second}/metrics.json"]) == 0
    said = capsys.readouterr().out
    clip, whole = (next(line for line in said.splitlines() if name in line) for name in ("fidelity: model", "score"))
    assert f"{values.mean():.1f}" in clip
    assert f"{values.mean() + 1.5:.1f}" in clip
    assert "+1.5 " in clip
    assert "+1.5 to +1.5" in clip
    assert "0.0001" in clip
    assert "+1.5" in whole


def test_the_same_is_no_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An evaluation beside itself differs by nothing, with certainty."""
    first = write(tmp_path / "a", np.arange(10.0))
    assert main(["compare", first, first]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "model" in line)
    assert [cell.strip() for cell in line.strip("│").split("│")][-3:] == ["+0", "+0 to +0", "1"]


def test_other_clips_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another seed draws other clips: one line says so, and no number is printed."""
    first, second = write(tmp_path / "a", np.arange(9.0)), write(tmp_path / "b", np.arange(9.0), seed=1)
    assert main(["compare", first, second]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "not asked about the same clips: seed 0 and 1" in said.err
    assert said.err.count("\n") == 1


def test_it_is_said_where_nothing_is_paired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A difference without pairs is not left to look like a finding."""
    first, second = write(tmp_path / "a", np.arange(9.0)), write(tmp_path / "b", np.arange(1.0, 10.0))
    assert main(["compare", first, second]) == 0
    assert "Here nothing is paired, so a difference may be chance" in " ".join(capsys.readouterr().out.split())
    for path in (first, second):
        file = Path(path) / "metrics.json"
        content = json.loads(file.read_text())
        del content["answers"]["fidelity"]["clips"]
        file.write_text(json.dumps(content))
    assert main(["compare", first, second]) == 0
    assert "No number has values clip by clip in both" in capsys.readouterr().out
