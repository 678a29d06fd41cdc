"""Try every promise in full and write docs/reliability.md: `python -m tests.faults [NAME...]`."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import tests.faults.rows  # noqa: F401 - fills PROMISES
from tests.faults.promises import PROMISES, Outcome

PAGE = Path(__file__).parent.parent.parent / "docs" / "reliability.md"
SEED = 0
HEAD = """# Reliability: what is promised, what was tried, what was lost

`make faults` tries every row and writes this page. A short version of each row is in `make test`
(`tests/faults/`); a new row is a function in a file of `tests/faults/rows/`.

"""


def attempt(name: str) -> Outcome:
    """Try one promise in full, in a folder of its own, without what it prints; an error is a promise that is broken."""
    row = PROMISES[name]
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        try:
            return row.attempt(Path(work), row.times, random.Random(SEED))
        except Exception as error:
            print(traceback.format_exc(), file=sys.__stderr__)
            return Outcome(tried=row.times, survived=0, figure=type(error).__name__)


def table(outcomes: dict[str, Outcome], seconds: float) -> str:
    """Return the page."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    rows = ["| promise | tried | survived | lost | figure |", "|---|---|---|---|---|"]
    for name, found in outcomes.items():
        counts = f"{found.tried:,} | {found.survived:,} | {found.tried - found.survived:,}"
        rows.append(f"| {PROMISES[name].text} | {counts} | {found.figure} |")
    about = (
        f"Command `make faults`, commit {commit}, seed {SEED}, {os.cpu_count()} cores ({platform.machine()}) with a "
        f"load of {os.getloadavg()[2]:.1f}, Python {platform.python_version()}, {seconds / 60:.1f} minutes.\n\n"
    )
    return HEAD + about + "\n".join(rows) + "\n"


def main(names: list[str]) -> int:
    """Print the outcome of each row; return 1 if anything was lost."""
    began, outcomes = time.monotonic(), {}
    for name in names or PROMISES:
        start = time.monotonic()
        outcomes[name] = attempt(name)
        print(f"{name} ({time.monotonic() - start:.0f} s): {outcomes[name]}", flush=True)
    if not names:
        PAGE.write_text(table(outcomes, time.monotonic() - began))
        print(PAGE.read_text())
    return int(any(found.survived < found.tried for found in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
