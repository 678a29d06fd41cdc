"""A directory belongs to one process at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from worldmodel.rollouts.lock import locked

HOLD = """
import sys
from pathlib import Path
from worldmodel.rollouts.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    """Whoever comes second is told what to do; the lock dies with its process, however that ends."""
    out = tmp_path / "not" / "yet there"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="another process is writing into"), locked(out):
            pass
        holder.kill()
    with locked(out):
        assert out.is_dir()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A file in the way, a disk that is read only: one line with the reason and what to do."""
    (tmp_path / "file").touch()
    said = r"cannot write to --out .*: .*; choose another"
    with pytest.raises(ValueError, match=said), locked(tmp_path / "file"):
        pass


def test_a_directory_into_which_nothing_came_is_removed(tmp_path: Path) -> None:
    """A command that fails at its start leaves nothing behind; a directory that was there before stays."""
    (tmp_path / "old").mkdir()
    for name in ("new", "old"):
        with locked(tmp_path / name):
            pass
        assert (tmp_path / name).exists() == (name == "old")
