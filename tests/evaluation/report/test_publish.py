"""The documentation shows the numbers that ship, between its markers, and no other ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from worldmodel.checkpoints.checkpoint import read_index
from worldmodel.evaluation.harness.run import SCHEMA
from worldmodel.evaluation.report import publish
from worldmodel.simulator import PRETRAINED

ROOT = Path(__file__).parents[3]
DOCS = [ROOT / "README.md", ROOT / "docs" / "results.md"]


@pytest.fixture(scope="module")
def shipped() -> publish.Metrics:
    found: publish.Metrics = json.loads(publish.SHIPPED.read_text())
    return found


@pytest.mark.parametrize("doc", DOCS, ids=[doc.name for doc in DOCS])
def test_the_documentation_shows_the_shipped_numbers(doc: Path, shipped: publish.Metrics) -> None:
    """What stands between the markers is what the shipped metrics.json says: `publish` changes nothing."""
    text = doc.read_text()
    assert publish.MARKED.search(text)
    assert text.count("<!-- results:begin") == len(publish.MARKED.findall(text))
    renewed = publish.publish(text, shipped, publish.read_games())
    assert renewed == text, f"run: python -m worldmodel.evaluation.report.publish {doc.relative_to(ROOT)}"


def test_the_shipped_numbers_are_of_the_shipped_checkpoint(shipped: publish.Metrics) -> None:
    """metrics.json speaks of the weights beside it: the same tokenizer and order, in this version's schema."""
    config = read_index(PRETRAINED, kind="dynamics")["config"]
    assert shipped["schema"] == SCHEMA
    assert shipped["checkpoint"]["tokenizer"] == config["tokenizer"]
    assert shipped["checkpoint"]["order"] == config["order"]
    assert shipped["data"]["split"] == "test"
    assert shipped["settings"]["quick"] is False


def test_only_what_is_marked_is_replaced(shipped: publish.Metrics) -> None:
    """Text around the markers stays, what is between them goes, and doing it twice changes nothing more."""
    text = "before 1.0\n<!-- results:begin bars -->\nold 2.0\n<!-- results:end -->\nafter 3.0\n"
    first = publish.publish(text, shipped, publish.read_games())
    assert first.startswith("before 1.0\n<!-- results:begin bars -->\n")
    assert first.endswith("<!-- results:end -->\nafter 3.0\n")
    assert "old 2.0" not in first
    assert publish.table_of_bars(shipped) in first
    assert publish.publish(first, shipped, {}) == first
    with pytest.raises(ValueError, match="no block of results named 'nothing'"):
        publish.publish(text.replace("bars", "nothing"), shipped, {})


def test_a_changed_number_changes_the_tables(shipped: publish.Metrics) -> None:
    """Every block but the bars' shows PSNR or settings as they are in the metrics."""
    changed = json.loads(json.dumps(shipped))
    answers = changed["answers"]
    answers["fidelity"]["series"]["10/psnr"]["rows"]["model"] = [1.25] * 10
    assert "| **1.2** |" in publish.fidelity(changed)
    assert "| model | 1.25 |" in publish.everything(changed)
    answers["tokenizer"]["scalars"]["psnr_moving"] = 12.34
    assert "12.3 dB on moving clips" in publish.summary(changed)
    changed["settings"]["seed"] = 77
    assert "--seed 77" in publish.provenance(changed)


def test_a_file_is_rewritten(tmp_path: Path, shipped: publish.Metrics) -> None:
    """`python -m worldmodel.evaluation.report.publish FILE` writes the shipped numbers into the file."""
    file = tmp_path / "x.md"
    file.write_text("<!-- results:begin fidelity -->\n<!-- results:end -->\n")
    publish.main([str(file)])
    assert publish.fidelity(shipped) in file.read_text()


def test_the_gallery_has_a_row_for_each_game(tmp_path: Path, shipped: publish.Metrics) -> None:
    """Every checkpoint is a row, once more without its map; what was not asked is a dash, a missed bar bold."""
    game = json.loads(json.dumps(shipped))
    game["checkpoint"]["map"] = False
    game["answers"]["changes"]["series"]["error_ratio"]["rows"]["model"]["mean"][9] = 0.51
    (tmp_path / "pong").mkdir()
    (tmp_path / "pong" / "metrics.json").write_text(json.dumps(game))
    games = publish.read_games(tmp_path)
    del games["pong"]["answers"]["control"]  # type: ignore[attr-defined]
    text = publish.publish("<!-- results:begin gallery -->\n<!-- results:end -->\n", shipped, games)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    header, _, maze, without, pong = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    assert [row[0].split(" (")[0] for row in (header, maze, without, pong)] == [
        "game", "maze", "maze without map", "pong",
    ]  # fmt: skip
    psnr = shipped["answers"]["fidelity"]["series"]["10/psnr"]["rows"]
    assert maze[1:3] == [f"{psnr[row]['mean'][9]:.1f}" for row in ("reconstruction", "model")]
    assert without[2] == f"{psnr['without_map']['mean'][9]:.1f}"
    assert pong[4:6] == ["**51%**", "–"]
