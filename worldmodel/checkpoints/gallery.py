"""The checkpoints that come with the package, by name: `maze`, and every other folder of `pretrained` with one."""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "pretrained"
DEFAULT = "maze"  # lies in `pretrained/dynamics`, its held-out episodes in `pretrained/episodes`


def names() -> tuple[str, ...]:
    """Return the names of the checkpoints, the default first."""
    folders = sorted(folder.name for folder in FOLDER.iterdir() if folder.name != "dynamics" and _checkpoint(folder))
    return (DEFAULT, *folders) if _is_dynamics(FOLDER / "dynamics") else tuple(folders)


def path(name: str) -> Path:
    """Return the checkpoint directory of `name`.

    Raises:
        ValueError: if there is none of that name; the nearest is suggested.
    """
    found = FOLDER / "dynamics" if name == DEFAULT else _checkpoint(FOLDER / name) if name in names() else None
    if found is None:
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no checkpoint at {name}, and none of that name{hint} (there are: {', '.join(names())})")
    return found


def episodes(name: str) -> Path | None:
    """Return the data set of held-out episodes that comes with a checkpoint, None if there is none."""
    folder = FOLDER / "episodes" if name == DEFAULT else FOLDER / name / "episodes"
    return folder if folder.is_dir() else None


def own_episodes(checkpoint: str | os.PathLike[str]) -> Path:
    """Return the held-out episodes of a checkpoint of the gallery, by its name or directory; for any other the maze's.

    Raises:
        ValueError: as `resolve`.
    """
    place = resolve(checkpoint).resolve()
    name = next((name for name in names() if path(name).resolve() == place), DEFAULT)
    return episodes(name) or FOLDER / "episodes"


def resolve(checkpoint: str | os.PathLike[str]) -> Path:
    """Return the checkpoint directory that a user names: a directory, or a name of the gallery.

    Raises:
        ValueError: if it is neither.
    """
    place, text = Path(checkpoint), os.fspath(checkpoint)
    is_name = text in names() and not (place / "config.json").exists()  # a folder may be called as a game is
    return place if place.is_dir() and not is_name else path(text)


def describe(name: str) -> str:
    """Return one line about a checkpoint: its game, its actions, its frame rate."""
    config = _config(path(name))
    source = episodes(name)
    game = json.loads((source / "dataset.json").read_bytes())["settings"]["env"] if source else "no episodes"
    rate = f"{config['frames_per_second']:g} frames/s"
    return f"{game}, {rate}, actions: {', '.join(config['action_names'])}"


def _checkpoint(folder: Path) -> Path | None:
    """Return where in a folder of the gallery the dynamics lies: in it, or in its `dynamics`."""
    return next((place for place in (folder, folder / "dynamics") if _is_dynamics(place)), None)


def _is_dynamics(folder: Path) -> bool:
    try:
        return json.loads((folder / "config.json").read_bytes())["kind"] == "dynamics"
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())["config"]
    return config
