"""What the tests of training share."""

from __future__ import annotations

import pytest

from worldmodel.training import belief, dynamics


@pytest.fixture(autouse=True)
def few_held_out_clips(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask few clips where nothing but the asking is tested: finding views is what takes the time."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(belief, "HELD_OUT_CLIPS", 4)
        monkeypatch.setattr(dynamics, "HELD_OUT_CLIPS", 6)
