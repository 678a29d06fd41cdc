"""The gallery command: one line a checkpoint."""

from __future__ import annotations

import pytest

from worldmodel.checkpoints import gallery
from worldmodel.commands import main


def test_lists_every_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    """Each name stands at the beginning of a line, with its game and actions."""
    assert main(["gallery"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(gallery.names())
    assert "VizdoomMyWayHome-v1" in lines[0]
    assert "forward" in lines[0]
