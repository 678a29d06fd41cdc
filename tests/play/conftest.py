"""One tiny library for all tests of a module: its model and recordings are made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.play.serving import Served, serving, tiny_library
from worldmodel.play.library import Library


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """A tiny model of the toy world and where its games begin."""
    return tiny_library(tmp_path_factory.mktemp("library"))


@pytest.fixture
def served(library: Library, tmp_path: Path) -> Iterator[Served]:
    """A running server of the tiny library."""
    with serving(library, tmp_path / "played") as running:
        yield running
