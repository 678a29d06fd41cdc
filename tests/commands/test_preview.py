"""The preview command: a contact sheet and a video of a data set."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from PIL import Image

from tests.worlds import record_toy
from worldmodel.commands import main
from worldmodel.rollouts import CollectConfig, Goal, collect
from worldmodel.rollouts.manifest import SEAL_FILE


def test_strip_and_video_are_written_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """stdout names both files; the video has as many frames as were asked for, the strip is a picture."""
    record_toy(tmp_path / "d")
    words = ["preview", str(tmp_path / "d"), "--out", "p", "--frames", "5", "--episodes", "2"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == ["p/preview.png", "p/preview.mp4"]
    with av.open("p/preview.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == 5
    with Image.open("p/preview.png") as strip:
        assert strip.width > strip.height > 2 * 32


def test_more_than_there_is_shows_all(tmp_path: Path) -> None:
    """Asking for more episodes and frames than there are shows those there are."""
    record_toy(tmp_path / "d", episodes=1)
    assert main(["preview", str(tmp_path / "d"), "--out", "p", "--frames", "10000"]) == 0
    with av.open("p/preview.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == 101


def test_mistakes_get_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No data set, an empty one, a damaged one, or numbers below 1: one line, exit code 1 or 2."""
    assert main(["preview", "nowhere"]) == 1
    assert "no data set in nowhere" in capsys.readouterr().err
    record_toy(tmp_path / "d", episodes=1)
    assert main(["preview", str(tmp_path / "d"), "--frames", "0"]) == 2
    assert "--frames must be at least 1, got 0" in capsys.readouterr().err
    file = tmp_path / "d" / "episode-000000.parquet"
    file.write_bytes(file.read_bytes()[:100])
    assert main(["preview", str(tmp_path / "d")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    for name in ("episodes.jsonl", SEAL_FILE):
        (tmp_path / "d" / name).unlink()
    assert main(["preview", str(tmp_path / "d")]) == 1
    assert "has no episodes yet" in capsys.readouterr().err


def test_real_engine_can_be_previewed(tmp_path: Path) -> None:
    """A ViZDoom data set, recorded now, gives a video too."""
    collect(CollectConfig(frame_size=32), tmp_path / "d", goal=Goal(episodes=1))
    assert main(["preview", str(tmp_path / "d"), "--out", "p", "--frames", "3"]) == 0
