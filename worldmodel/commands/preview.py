"""`worldmodel preview`: the episodes of a data set as a contact sheet and as a video."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from . import cli

if TYPE_CHECKING:
    from ..rollouts import EpisodeDataset
    from ..video.figure import Video


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    result = cli.Parser(prog=prog, description="Draw the beginning of some episodes as a contact sheet and as a video.")
    result.add_argument("path", type=Path, metavar="DIR", help="a data set")
    result.add_argument("--out", type=Path, default=Path("preview"), metavar="DIR", help="where to write")
    result.add_argument("--episodes", type=int, default=4, metavar="N", help="how many, spread over the data set")
    result.add_argument("--frames", type=int, default=48, metavar="N", help="how many of each episode")
    return result


def main(args: argparse.Namespace) -> None:
    """Write preview.png and preview.mp4 and print where they are."""
    for name, number in (("--episodes", args.episodes), ("--frames", args.frames)):
        if number < 1:
            raise cli.UsageError(f"{name} must be at least 1, got {number}")
    from ..rollouts import EpisodeDataset
    from ..rollouts.lock import locked
    from ..video.figure import draw_contact_sheet, draw_grid_video
    from ..video.mp4 import replacing, write_video

    dataset = EpisodeDataset(args.path)
    videos = _videos(dataset, num_episodes=args.episodes, num_frames=args.frames)
    rate = dataset.info.frames_per_second
    sheet, file = args.out / "preview.png", args.out / "preview.mp4"
    columns = max(number for number in (1, 2, 4) if len(videos) % number == 0)
    grid = [videos[start : start + columns] for start in range(0, len(videos), columns)]
    with locked(args.out):
        with replacing(sheet) as temporary:
            draw_contact_sheet([[video] for video in videos], frames_per_second=rate).save(temporary, format="PNG")
        write_video(file, draw_grid_video(grid, frames_per_second=rate), frames_per_second=rate)
    print(f"{sheet}\n{file}")


def _videos(dataset: EpisodeDataset, *, num_episodes: int, num_frames: int) -> list[Video]:
    """Return the first frames of episodes spread over the data set, all of the same length.

    Raises:
        ValueError: if there are no episodes.
    """
    from ..envs.picture import aspect_of
    from ..video.figure import Video

    if not len(dataset):
        raise ValueError(f"{dataset.path} has no episodes yet")
    count = min(num_episodes, len(dataset))
    chosen = [index * len(dataset) // count for index in range(count)]
    length = min(num_frames, *(int(dataset.lengths[index]) for index in chosen))
    names = dataset.info.action_names
    return [
        Video(
            label=f"episode {index}",
            frames=dataset.frames(index, 0, length),
            num_context=0,
            kind="real",
            aspect=aspect_of(dataset.info.settings),
            pressed=("", *(names[action] for action in dataset.actions(index)[: length - 1])),
        )
        for index in chosen
    ]
