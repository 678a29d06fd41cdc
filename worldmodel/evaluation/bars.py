"""Where the bar is: what a shipped checkpoint must reach on held-out data, and what it should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A bar, and how the numbers stand to it; `met` is None where they do not say."""

    name: str
    must: str
    aim: str
    measured: str
    met: bool | None


def bars(metrics: Mapping[str, Any]) -> list[Bar]:
    """Return every bar with what `metrics`, the content of a metrics.json, says of it."""
    return []
