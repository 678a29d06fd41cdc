"""`worldmodel import`: recordings from elsewhere become a data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import cli


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    result = cli.Parser(
        prog=prog,
        description="Make a data set of recordings: a video, a folder of pictures, or a folder of such, each with its "
        "steps in a .csv, .jsonl or .npz file (run.mp4 and run.csv; a folder of pictures has the file inside); or a "
        "data set of LeRobot v3's or of Minari's.\n\nA row of that file is a step, with a column `action` (a name or "
        "a number) and, where they are known, `reward`, `terminated` and `truncated`. Row t was done after frame t and "
        "led to frame t+1: N frames have N-1 rows, or N where the last step ended the game unseen.",
    )
    result.add_argument("source", type=Path, metavar="SOURCE", help="a video, or a folder")
    result.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new data set's directory")
    cli.add_settings(
        result,
        "frame_size=128; fit=squash, pad or crop; frames_per_second=N, where no rate is known (pictures, Minari); "
        "actions=noop,left,right, the names of the actions 0, 1, 2; env=NAME; split=train or test",
    )
    return result


def main(args: argparse.Namespace) -> None:
    """Import, and print what the data set then holds."""
    from ..exchange import lerobot, minari
    from ..exchange.importing import ImportConfig, import_recordings
    from ..exchange.sources import common_rate, find_recordings
    from ..rollouts import EpisodeDataset, measure
    from . import describe

    config = cli.override(ImportConfig(), args.set)
    dataset: lerobot.LeRobotDataset | minari.MinariDataset | None = None
    if lerobot.is_lerobot(args.source):
        dataset = lerobot.LeRobotDataset(args.source)
    elif minari.is_minari(args.source):
        dataset = minari.MinariDataset(args.source)
    if dataset is not None:
        import_recordings(
            dataset.episodes(),
            args.out,
            config=config,
            frames_per_second=dataset.frames_per_second,
            action_names=dataset.action_names,
        )
    else:
        recordings = find_recordings(args.source)
        rate = config.frames_per_second or common_rate(recordings)
        import_recordings(recordings, args.out, config=config, frames_per_second=rate)
    written = EpisodeDataset(args.out)
    print("\n".join(map(cli.plain, describe.dataset_lines(written, measure(written)))))
