"""What the tests of training share."""

from __future__ import annotations

import pytest

from worldmodel.learned_map import map as map_module
from worldmodel.learned_map import particle_filter
from worldmodel.learned_map.particle_filter import SearchEffort
from worldmodel.training import dynamics, learned_map

SLIGHT = SearchEffort(columns=4, rows=3, drawn=8, best=3)


@pytest.fixture(autouse=True)
def asked_briefly(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing but the asking is tested, ask few clips and seek views slightly: that is what takes the time."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(learned_map, "HELD_OUT_CLIPS", 4)
        monkeypatch.setattr(dynamics, "HELD_OUT_CLIPS", 6)
        for effort in ("COMPARE", "REFINE", "CLOSE_LOOK"):
            monkeypatch.setattr(particle_filter, effort, SLIGHT)
        monkeypatch.setattr(map_module, "COMPARE", SLIGHT)
