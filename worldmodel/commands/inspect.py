"""`worldmodel inspect`: what is in a data set or a checkpoint, and whether it is as it was written."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from . import cli

MAX_PROBLEMS = 4  # lines of problems that are printed


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    result = cli.Parser(
        prog=prog, description="Print what is in a data set or a checkpoint and compare every file with its SHA-256."
    )
    result.add_argument("path", type=Path, metavar="DIR", help="a data set or a checkpoint")
    return result


def main(args: argparse.Namespace) -> int:
    """Print the facts; exit code 1 if a file is damaged or missing."""
    is_checkpoint = (args.path / "config.json").is_file()
    problems = _inspect_checkpoint(args.path) if is_checkpoint else _inspect_dataset(args.path)
    for problem in problems[:MAX_PROBLEMS]:
        print(problem, file=sys.stderr)
    if len(problems) > MAX_PROBLEMS:
        print(f"... and {len(problems) - MAX_PROBLEMS} more", file=sys.stderr)
    print("damaged" if problems else "intact: every file has the SHA-256 it was written with")
    return cli.FAILURE if problems else 0


def _inspect_dataset(path: Path) -> list[str]:
    """Print what a data set holds and return what is wrong with it."""
    from ..rollouts import EpisodeDataset, measure
    from . import describe

    dataset = EpisodeDataset(path)
    problems = [problem for index in range(len(dataset)) if (problem := dataset.verify(index))]
    print("\n".join(describe.dataset_lines(dataset, None if problems else measure(dataset))))
    return problems


def _inspect_checkpoint(path: Path) -> list[str]:
    """Print what a checkpoint, and the one inside it, holds and return what is wrong with it."""
    index = _read_index(path)
    files, config = index["files"], index["config"]
    size = sum((path / name).stat().st_size for name in files if (path / name).is_file())
    print(f"{path}: {index['kind']} checkpoint, {len(files)} files, {size / 2**20:,.1f} MiB")
    for group in ("config", "metrics"):
        facts = [
            f"{name}={json.dumps(value)}" for name, value in sorted(index[group].items()) if name != "action_names"
        ]
        print(f"{group:<9} {' '.join(facts)}")
    if "action_names" in config:
        print(f"actions   {' '.join(config['action_names'])}")
    problems = [problem for name, digest in files.items() if (problem := _compare(path / name, digest))]
    inner = [child for child in sorted(path.iterdir()) if (child / "config.json").is_file()]
    return problems + [problem for child in inner for problem in _inspect_checkpoint(child)]


def _read_index(path: Path) -> dict[str, Any]:
    """Return a checkpoint's `config.json`; the checkpoint's own module would need torch.

    Raises:
        ValueError: if it describes no checkpoint.
    """
    try:
        index = json.loads((path / "config.json").read_bytes())
    except ValueError as error:
        raise ValueError(f"{path / 'config.json'} is damaged: {error}") from error
    groups = ("config", "metrics", "files")
    if not isinstance(index, dict) or "kind" not in index or not all(isinstance(index.get(g), dict) for g in groups):
        raise ValueError(f"{path / 'config.json'} does not describe a checkpoint")
    return index


def _compare(file: Path, digest: str) -> str | None:
    try:
        content = file.read_bytes()
    except OSError as error:
        return f"{file}: {error.strerror}"
    return None if hashlib.sha256(content).hexdigest() == digest else f"{file}: SHA-256 does not match config.json"
