"""Try one promise in full: `python -m tests.faults.attempt NAME FOLDER` leaves FOLDER/outcome.json."""

from __future__ import annotations

import dataclasses
import json
import random
import sys
from pathlib import Path

import tests.faults.rows  # noqa: F401 - fills PROMISES
from tests.faults.promises import PROMISES

SEED = 0


def main(name: str, folder: Path) -> None:
    """Try it in a folder of its own."""
    row = PROMISES[name]
    (folder / "work").mkdir()
    outcome = row.attempt(folder / "work", row.times, random.Random(SEED))
    (folder / "outcome.json").write_text(json.dumps(dataclasses.asdict(outcome)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
