"""`worldmodel inspect`: what is in a data set or a checkpoint, and whether it is as it was written."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from . import cli

MAX_PROBLEMS = 4  # lines of problems that are printed
MAX_SHARD_BYTES = 4 * 2**30


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    result = cli.Parser(
        prog=prog, description="Print what is in a data set or a checkpoint and compare every file with its SHA-256."
    )
    result.add_argument("path", type=Path, metavar="DIR", help="a data set or a checkpoint, or a name of the gallery")
    return result


def main(args: argparse.Namespace) -> int:
    """Print the facts; exit code 1 if a file is damaged or missing."""
    from ..checkpoints import gallery

    path = args.path if args.path.exists() or str(args.path) not in gallery.names() else gallery.path(str(args.path))
    is_checkpoint = (path / "config.json").is_file()
    problems = _inspect_checkpoint(path) if is_checkpoint else _inspect_dataset(path)
    for problem in problems[:MAX_PROBLEMS]:
        print(cli.plain(problem), file=sys.stderr)
    if len(problems) > MAX_PROBLEMS:
        print(f"... and {len(problems) - MAX_PROBLEMS} more", file=sys.stderr)
    print("damaged" if problems else "intact: every file has the SHA-256 it was written with")
    return cli.FAILURE if problems else 0


def _inspect_dataset(path: Path) -> list[str]:
    """Print what a data set holds and return what is wrong with it."""
    from ..rollouts import EpisodeDataset, measure
    from ..rollouts.manifest import has_checks
    from . import describe

    dataset = EpisodeDataset(path)
    print("\n".join(map(cli.plain, describe.fact_lines(dataset))), flush=True)  # the files may take minutes
    problems = [problem for index in _shown(range(len(dataset))) if (problem := dataset.verify(index))]
    if not problems:
        print("\n".join(map(cli.plain, describe.coverage_lines(measure(dataset)))))
    if not has_checks(path):
        print("episodes.jsonl has no checksums: an older version wrote it, and a changed line would not be noticed")
    return problems


def _shown(episodes: range) -> Iterator[int]:
    """Yield the episodes, with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return iter(track(episodes, "comparing", console=console, transient=True, disable=not console.is_terminal))


def _inspect_checkpoint(path: Path) -> list[str]:
    """Print what a checkpoint, and the one inside it, holds and return what is wrong with it."""
    from ..checkpoints.index import CHECKSUM, read_index

    index = read_index(path)
    files, config = index["files"], index["config"]
    size = sum((path / name).stat().st_size for name in files if (path / name).is_file())
    print(cli.plain(f"{path}: {index['kind']} checkpoint, {len(files)} files, {size / 2**20:,.1f} MiB"))
    for group in ("config", "metrics"):
        facts = [
            f"{name}={json.dumps(value)}" for name, value in sorted(index[group].items()) if name != "action_names"
        ]
        print(cli.plain(f"{group:<9} {' '.join(facts)}"))
    if isinstance(names := config.get("action_names"), list):
        print(cli.plain(f"actions   {' '.join(map(str, names))}"))
    if CHECKSUM not in index:
        print("config.json has no checksum: an older version wrote it, and a changed setting would not be noticed")
    problems = [problem for name, digest in files.items() if (problem := _compare(path / name, digest))]
    inner = [child for child in sorted(path.iterdir()) if (child / "config.json").is_file()]
    return problems + [problem for child in inner for problem in _inspect_checkpoint(child)]


def _compare(file: Path, digest: str) -> str | None:
    """Return what is wrong with a shard, None if it has this SHA-256."""
    from ..rollouts.files import read_regular

    try:
        content = read_regular(file, max_bytes=MAX_SHARD_BYTES)
    except OSError as error:
        return f"{file}: {error.strerror}"
    except ValueError as error:
        return str(error)
    return None if hashlib.sha256(content).hexdigest() == digest else f"{file}: SHA-256 does not match config.json"
