"""How much of the map and of the actions a data set holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .episode import POSE
from .storage import EpisodeDataset

CELL = 64.0  # map units: a player is 32 wide, a room of the default maze about 200
HEADINGS = 8


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What a data set holds.

    Attributes:
        action_shares: action name -> its share of all actions.
        cells: how many map cells were visited.
        views: how many of the `cells * HEADINGS` views (cell, heading) were seen.
        even_views: exp of the entropy of the views: as many if all were seen equally often.
        still_share: share of steps that meant to walk and moved less than 4 map units.
    """

    action_shares: dict[str, float]
    cells: int
    views: int
    even_views: float
    still_share: float


def measure(dataset: EpisodeDataset) -> Coverage:
    """Measure a data set; games without a position have 0 cells. No frame is read."""
    names = dataset.info.action_names
    walks = np.array(["forward" in name or "strafe" in name for name in names])
    counts = np.zeros(len(names), dtype=np.int64)
    views, still, walked = [], 0, 0
    for index in range(len(dataset)):
        actions = dataset.actions(index)
        counts += np.bincount(actions, minlength=len(names))
        if set(POSE) <= set(dataset.info.variables):
            variables = dataset.variables(index)
            position = np.stack([variables["position_x"], variables["position_y"]], axis=1)
            heading = np.floor(variables["angle"] % 360 / 360 * HEADINGS)
            views.append(np.column_stack([np.floor(position / CELL), heading]).astype(np.int64))
            moved = np.linalg.norm(np.diff(position, axis=0), axis=1)
            still += int((walks[actions] & (moved < 4)).sum())
            walked += int(walks[actions].sum())
    seen, times = np.unique(np.concatenate(views), axis=0, return_counts=True) if views else (np.zeros((0, 3)), None)
    shares = (counts / max(counts.sum(), 1)).tolist()
    return Coverage(
        action_shares=dict(zip(names, shares, strict=True)),
        cells=len(np.unique(seen[:, :2], axis=0)),
        views=len(seen),
        even_views=0.0 if times is None else _perplexity(times),
        still_share=still / max(walked, 1),
    )


def _perplexity(counts: np.ndarray) -> float:
    shares = counts / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
