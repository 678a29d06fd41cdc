"""Try every promise in full and write docs/reliability.md: `python -m tests.faults [NAME...]`.

Each row runs in a process of its own, with a time limit: one that fails, crashes or hangs is a promise that is broken,
and the others are still tried. Interrupted, the same command goes on after the last finished row.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import tests.faults.rows  # noqa: F401 - fills PROMISES
from tests.faults.attempt import SEED
from tests.faults.promises import PROMISES, Outcome

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
FINISHED = ROOT / "build" / "faults.json"  # the rows of a run that was interrupted
MAX_ROW_SECONDS = 600.0  # the longest takes 150 on an idle core
HEAD = """# Reliability: what is promised, what was tried, what was lost

`make faults` tries every row and writes this page. A short version of each row is in `make test`
(`tests/faults/`); a new row is a function in a file of `tests/faults/rows/`.

"""


def attempt(name: str, *, max_seconds: float = MAX_ROW_SECONDS) -> Outcome:
    """Try one promise in full; an error, a crash and a hang are a promise that is broken."""
    with tempfile.TemporaryDirectory(prefix="worldmodel-faults-", ignore_cleanup_errors=True) as folder:
        said = Path(folder) / "said"
        words = [sys.executable, "-m", "tests.faults.attempt", name, folder]
        with said.open("wb") as output:
            process = subprocess.Popen(words, stdout=output, stderr=output, cwd=ROOT, start_new_session=True)
            try:
                code = process.wait(max_seconds)
                why = f"ended with exit code {code}"
            except subprocess.TimeoutExpired:
                why = f"no end within {max_seconds:.0f} s"
            finally:
                with suppress(ProcessLookupError):  # what it started goes with it
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        with suppress(OSError, ValueError):
            return Outcome(**json.loads((Path(folder) / "outcome.json").read_text()))
        print("\n".join(said.read_text(errors="replace").splitlines()[-30:]), file=sys.stderr)
        return Outcome(tried=PROMISES[name].times, survived=0, figure=f"**{why}**")


def table(outcomes: Mapping[str, Outcome], seconds: float) -> str:
    """Return the page."""
    rows = ["| promise | tried | survived | lost | figure |", "|---|---|---|---|---|"]
    for name, found in outcomes.items():
        lost = found.tried - found.survived
        counts = f"{found.tried:,} | {found.survived:,} | {f'**{lost:,}**' if lost else 0}"
        rows.append(f"| {PROMISES[name].text} | {counts} | {found.figure} |")
    about = (
        f"Command `make faults`, commit {commit()}, seed {SEED}, {os.cpu_count()} cores ({platform.machine()}) with a "
        f"load of {os.getloadavg()[2]:.1f}, Python {platform.python_version()}, {seconds / 60:.1f} minutes.\n\n"
    )
    return HEAD + about + "\n".join(rows) + "\n"


def commit() -> str:
    """Return the commit of this tree, with -dirty behind it if files were changed."""
    words = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False).stdout.strip()


def finished_rows(file: Path) -> tuple[dict[str, Outcome], float]:
    """Return the rows that an interrupted run of this commit has finished, and the seconds that they took."""
    with suppress(OSError, ValueError):
        found = json.loads(file.read_text())
        if found["commit"] == commit() and not found["commit"].endswith("-dirty"):
            return {name: Outcome(**values) for name, values in found["rows"].items()}, found["seconds"]
    return {}, 0.0


def try_all(file: Path, *, attempt: Callable[[str], Outcome] = attempt) -> tuple[dict[str, Outcome], float]:
    """Try every row that `file` does not know yet; return all outcomes in order, and the seconds that they took."""
    outcomes, seconds = finished_rows(file)
    for number, name in enumerate(PROMISES, 1):
        if name in outcomes:
            continue
        began = time.monotonic()
        outcomes[name] = show(name, f"{number}/{len(PROMISES)}", attempt)
        seconds += time.monotonic() - began
        file.parent.mkdir(exist_ok=True)
        rows = {name: dataclasses.asdict(outcome) for name, outcome in outcomes.items()}
        file.write_text(json.dumps({"commit": commit(), "seconds": seconds, "rows": rows}))
    file.unlink(missing_ok=True)
    return {name: outcomes[name] for name in PROMISES}, seconds


def show(name: str, place: str, attempt: Callable[[str], Outcome] = attempt) -> Outcome:
    """Try a row, and say what is tried and what came of it."""
    print(f"[{place}] {PROMISES[name].text} ...", flush=True)
    began = time.monotonic()
    found = attempt(name)
    lost = found.tried - found.survived
    counts = f"{found.tried:,} tried, {found.survived:,} survived, {lost:,} lost"
    print(f"[{place}] {name}: {counts}, {time.monotonic() - began:.0f} s. {found.figure}", flush=True)
    return found


def main(names: list[str]) -> int:
    """Print the outcome of each row, and of all write the page; return 1 if anything was lost."""
    if unknown := [name for name in names if name not in PROMISES]:
        print(f"no row named {unknown[0]}; rows: {', '.join(PROMISES)}", file=sys.stderr)
        return 2
    if names:
        outcomes = {name: show(name, f"{number}/{len(names)}") for number, name in enumerate(names, 1)}
    else:
        outcomes, seconds = try_all(FINISHED)
        PAGE.write_text(table(outcomes, seconds))
        print(PAGE.read_text())
    return int(any(found.survived < found.tried for found in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
