"""Recorded experience: episodes, who plays them, how they are collected and stored."""

from __future__ import annotations

from .collect import Goal, collect
from .config import CollectConfig
from .coverage import Coverage, measure
from .episode import POSE, Episode, Steps
from .manifest import DatasetInfo, EpisodeRecord
from .storage import EpisodeDataset

__all__ = [
    "POSE",
    "CollectConfig",
    "Coverage",
    "DatasetInfo",
    "Episode",
    "EpisodeDataset",
    "EpisodeRecord",
    "Goal",
    "Steps",
    "collect",
    "measure",
]
