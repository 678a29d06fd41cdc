"""What the tests of training share."""

from __future__ import annotations

import pytest

from worldmodel.dynamics import localisation
from worldmodel.dynamics.localisation import Effort
from worldmodel.training import belief, dynamics

SLIGHT = Effort(columns=4, rows=3, drawn=8, best=3)


@pytest.fixture(autouse=True)
def asked_briefly(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing but the asking is tested, ask few clips and seek views slightly: that is what takes the time."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(belief, "HELD_OUT_CLIPS", 4)
        monkeypatch.setattr(dynamics, "HELD_OUT_CLIPS", 6)
        monkeypatch.setattr(localisation, "COMPARE", SLIGHT)
        monkeypatch.setattr(localisation, "REFINE", SLIGHT)
