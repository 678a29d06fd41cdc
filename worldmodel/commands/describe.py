"""Data sets in words, for the commands that print them."""

from __future__ import annotations

from ..rollouts import Coverage, DatasetInfo, EpisodeDataset


def dataset_lines(dataset: EpisodeDataset, coverage: Coverage) -> list[str]:
    """Return what a data set holds, one fact a line."""
    *facts, fingerprint = fact_lines(dataset)
    return [*facts, *coverage_lines(coverage), fingerprint]


def fact_lines(dataset: EpisodeDataset) -> list[str]:
    """Return what a data set's manifest says and how large its files are, one fact a line; no file is read."""
    info, records = dataset.info, dataset.records
    frames = int(dataset.lengths.sum())
    files = [dataset.path / record.file for record in records]
    size = sum(file.stat().st_size for file in files if file.is_file())
    ends = f"{sum(r.terminated for r in records)} terminated, {sum(r.truncated for r in records)} truncated"
    seeds = f"seeds {records[0].seed} to {records[-1].seed}" if records else "no seeds yet"
    lines = [
        f"{dataset.path}: {len(records):,} episodes ({ends}), {frames:,} frames, {size / 2**20:,.1f} MiB",
        f"game      {info.env}, {info.settings['engine']}, split {info.split}, {seeds}, policy {info.policy}",
        f"frames    {info.frame_size}x{info.frame_size}{_fit(info)}, {info.frames_per_second:g} a second, "
        f"{_frame_skip(info)}, {frames / info.frames_per_second / 60:,.1f} minutes, "
        f"{size / max(frames, 1) / 1000:.1f} kB each",
    ]
    if dataset.shard is not None:
        shard = dataset.shard
        lines.append(f"shard     {shard.index} of {shard.num_shards}, {shard.episodes:,} episodes in all")
    return [*lines, f"hash      {dataset.fingerprint}"]


def coverage_lines(coverage: Coverage) -> list[str]:
    """Return how much of the actions, and of the map where there is one, a data set holds."""
    lines = ["actions   " + "  ".join(f"{name} {share:.1%}" for name, share in coverage.action_shares.items())]
    if coverage.cells:
        lines.append(
            f"coverage  {coverage.cells:,} map cells, {coverage.views:,} of their views (cell, heading) seen, "
            f"as even as {coverage.even_views:,.0f}; {coverage.still_share:.1%} of the walking steps against a wall"
        )
    return lines


def _frame_skip(info: DatasetInfo) -> str:
    own = info.settings.get("own_frame_skip", 1)
    return f"frame skip {info.frame_skip}" + (f" on top of the game's own {own}" if own > 1 else "")


def _fit(info: DatasetInfo) -> str:
    """Say what became of a picture that is no square."""
    height, width = info.settings.get("screen_size", (1, 1))
    done = {"squash": "squashed", "pad": "padded", "crop": "cropped"}.get(info.settings.get("fit", ""))
    return f" ({width}x{height} {done})" if done and height != width else ""
