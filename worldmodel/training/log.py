"""The record of a run: one JSON line for every few steps in `log.jsonl`, and a live table in the terminal."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..rollouts.manifest import write_atomically

PLAIN_EVERY_SECONDS = 30.0


class Log:
    """Writes what a run reports. On a terminal it draws a table; elsewhere it prints a line now and then.

    Args:
        out: the run's directory.
        step: where the run goes on; later lines of `log.jsonl` are dropped.
        visible: whether this process is the one that reports.
        ceiling: frames/s that the machine would allow (see `speed.frames_ceiling`); with it, the log reports `mfu`, the
            model FLOPs utilisation (Chowdhery et al. 2022, appendix B) over all that the run does, also evaluations.
    """

    def __init__(self, out: Path, step: int, *, visible: bool, ceiling: float | None = None) -> None:
        self.visible, self.ceiling = visible, ceiling
        self.console = Console(stderr=True)
        self.live = Live(console=self.console, auto_refresh=False, transient=True)
        self.table = Table()  # the newest
        self.sums: dict[str, float] = {}
        self.count = 0
        self.held_out: dict[str, float] = {}
        self.begun, self.printed = time.monotonic(), -math.inf
        self.mark: tuple[int, float] | None = None
        if visible:
            out.mkdir(parents=True, exist_ok=True)
            path = out / "log.jsonl"
            _forget_after(path, step)
            self.file = open(path, "a")  # noqa: SIM115

    def __enter__(self) -> Log:
        if self.visible and self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.visible:
            self.live.stop()
            self.file.close()

    def step(self, step: int, row: dict[str, float], *, frames: int, seconds: float, every: int, share: float) -> None:
        """Take one step's losses; report their mean over every `every` steps."""
        if not self.visible:
            return
        self.mark = self.mark or (frames, seconds)
        for name, value in row.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1
        if self.count < every and step > 1:
            return
        report = {name: value / self.count for name, value in self.sums.items()}
        elapsed = seconds - self.mark[1]
        report["frames_per_second"] = (frames - self.mark[0]) / elapsed if elapsed > 0 else 0.0
        if self.ceiling:
            report["mfu"] = report["frames_per_second"] / self.ceiling
        self.mark, self.sums, self.count = (frames, seconds), {}, 0
        self._write({"step": step, "frames": frames, "seconds": round(seconds, 1), **report})
        self._show(step, seconds, share, report)

    def asking(self, done: int, total: int) -> None:
        """Say how much of what is held out was asked about; it may take minutes."""
        if not self.visible:
            return
        text = f"asking what is held out: {done} of {total}"
        if self.console.is_terminal:
            self.live.update(Group(self.table, Text(text)), refresh=True)
        elif done < total and time.monotonic() - self.begun >= PLAIN_EVERY_SECONDS and self._is_time():
            self._print(text)

    def evaluation(self, step: int, numbers: dict[str, float]) -> None:
        """Report held-out numbers."""
        self.held_out = numbers
        self._write({"step": step, "held_out": numbers})
        if self.visible and not self.console.is_terminal:
            self._print(f"step {step} held out: {_line(numbers)}")

    def _write(self, row: dict[str, object]) -> None:
        if self.visible:
            self.file.write(json.dumps(row) + "\n")
            self.file.flush()

    def _show(self, step: int, seconds: float, share: float, report: dict[str, float]) -> None:
        if self.console.is_terminal:
            self.table = _table(step, seconds, share, report, self.held_out)
            self.live.update(self.table, refresh=True)
        elif self._is_time():
            self._print(f"{share:4.0%} step {step} {seconds / 60:.1f} min: {_line(report)}")

    def _is_time(self) -> bool:
        """Return whether another plain line may be printed by now; it counts as printed."""
        if time.monotonic() - self.printed < PLAIN_EVERY_SECONDS:
            return False
        self.printed = time.monotonic()
        return True

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)


def _forget_after(path: Path, step: int) -> None:
    """Drop the lines that a resumed run will write again, and those that a full disk or a kill cut off."""
    if path.exists():
        lines = path.read_text(errors="replace").splitlines()
        kept = [line for line in lines if 0 <= _step(line) <= step]
        write_atomically(path, "".join(f"{line}\n" for line in kept).encode())


def _step(line: str) -> int:
    """Return the step that a line is about, -1 if it is not whole."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return -1


def _line(numbers: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())


def _table(step: int, seconds: float, share: float, report: dict[str, float], held_out: dict[str, float]) -> Table:
    table = Table(title=f"step {step}   {seconds / 60:.1f} min   {share:.0%}", title_justify="left")
    table.add_column("training")
    table.add_column("", justify="right")
    table.add_column("held out")
    table.add_column("", justify="right")
    left = [(name, f"{value:.4g}") for name, value in report.items()]
    right = [(name, f"{value:.4g}") for name, value in held_out.items()]
    for i in range(max(len(left), len(right))):
        table.add_row(*(left[i] if i < len(left) else ("", "")), *(right[i] if i < len(right) else ("", "")))
    return table
