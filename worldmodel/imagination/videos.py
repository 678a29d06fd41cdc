"""Imagined videos: several futures of one context, sampled in latent space, then drawn with a contact sheet."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..action_script import Script, file_names, parse
from ..simulator import Simulator
from ..types import UNKNOWN_ACTION
from ..video.figure import Video, draw_contact_sheet, draw_grid_video
from ..video.mp4 import VideoWriter, replacing
from .sources import Context, Source, load_context
from .truth import real_futures

ALL = "imagine"  # the name of the files that show every video
COLUMNS = 4  # videos beside each other in the grid video that shows all
CHUNK = 16  # frames decoded at once

EPISODES = Path(__file__).parents[1] / "pretrained" / "episodes"  # held out, shipped with the package
DEFAULT_SOURCE = f"{EPISODES}:6@38"  # a corridor that leads into a room: forward and right look different

StageReport = Callable[[str, int, int], None]


def no_report(stage: str, done: int, total: int) -> None:
    """Report no progress."""


def imagine_videos(
    simulator: Simulator,
    action: str,
    *,
    source: str = DEFAULT_SOURCE,
    num_context: int = 6,
    num_steps: int = 10,
    out: str | os.PathLike[str] = "imagined",
    seed: int = 0,
    truth: bool = False,
    about: Mapping[str, Any] | None = None,
    report: StageReport = no_report,
) -> Written:
    """Imagine the future of `num_context` real frames, a video for each script in `action`, into the directory `out`.

    Args:
        action: what to press, in the grammar of `action_script`: `forward,right` makes two videos.
        source: where the real frames come from, in the form of `sources`; by default one of the package's own episodes.
        truth: show the real game's future under the same actions beside each.
        about: what else the JSON record says.
        report: is called with (stage, steps done, steps) as it goes.

    Raises:
        ValueError: if an action is unknown or a script too long, or the source cannot be read or does not fit.
        OSError: if `out` cannot be written.
    """
    scripts = parse(action, simulator.action_names)
    context = load_context(Source.parse(source), simulator, num_frames=num_context, horizon=num_steps, seed=seed)
    real = real_futures(context, [script.names(num_steps) for script in scripts]) if truth else []
    futures = imagine_futures(simulator, context, scripts, num_steps=num_steps, seed=seed, report=report)
    described = {
        "action": action,
        **(about or {}),
        "seed": seed,
        "temperature": simulator.temperature,
        "top_k": simulator.top_k,
        "frame_rate": simulator.frames_per_second,
    }
    return write_videos(simulator, futures, Path(out), real=real, about=described, report=report)


@dataclass(frozen=True, kw_only=True)
class Futures:
    """The imagined future of a context under each script: codes int16 (b n h w), no pixels yet."""

    context: Context
    scripts: tuple[Script, ...]
    codes: Tensor
    seconds: float

    @property
    def num_steps(self) -> int:
        return self.codes.shape[1]


def imagine_futures(
    simulator: Simulator,
    context: Context,
    scripts: Sequence[Script],
    *,
    num_steps: int,
    seed: int = 0,
    report: StageReport = no_report,
) -> Futures:
    """Return `num_steps` steps of the future of `context` under each of `scripts`, imagined as one batch.

    A script without actions does not know those of the context either: models are trained with all of a clip's actions
    or none.

    Args:
        report: is called with ("imagining", steps done, num_steps) as it goes.

    Raises:
        ValueError: if there is nothing to imagine, a script is longer than `num_steps`, or the context does not fit.
    """
    if num_steps < 1 or not scripts:
        raise ValueError(f"imagine at least 1 step of 1 video, got {num_steps} steps of {len(scripts)} videos")
    future = np.stack([script.expand(num_steps) for script in scripts])
    unknown = np.full_like(context.actions, UNKNOWN_ACTION)
    past = np.stack([unknown if script.is_none else context.actions for script in scripts])
    simulator.seed(seed)
    simulator.reset(np.stack([context.frames] * len(scripts)), past)
    grid = simulator.dynamics.config.code_grid
    codes = torch.empty(len(scripts), num_steps, grid, grid, dtype=torch.int16)  # grows as it is filled, and no further
    began = time.perf_counter()
    for step in range(num_steps):
        codes[:, step] = simulator.step(future[:, step])
        report("imagining", step + 1, num_steps)
    seconds = time.perf_counter() - began
    return Futures(context=context, scripts=tuple(scripts), codes=codes, seconds=seconds)


class DecodedFrames(Sequence[np.ndarray]):
    """The context's frames, then imagined ones, decoded a chunk at a time when they are looked at."""

    def __init__(self, simulator: Simulator, context: np.ndarray, codes: Tensor) -> None:
        self.seconds = 0.0  # spent decoding
        self._simulator, self._context, self._codes = simulator, context, codes
        self._chunk: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self._context) + len(self._codes)

    def __getitem__(self, index: Any) -> Any:
        """Return frame `index`, uint8 (H, W, 3)."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        if index < len(self._context):
            return self._context[index]
        number, position = divmod(index - len(self._context), CHUNK)
        if self._chunk is None or self._chunk[0] != number:
            began = time.perf_counter()
            codes = self._codes[number * CHUNK : (number + 1) * CHUNK].long().unsqueeze(0)
            self._chunk = number, self._simulator.decode(codes.to(self._simulator.tokenizer.device))[0]
            self.seconds += time.perf_counter() - began
        return self._chunk[1][position]


@dataclass(frozen=True, kw_only=True)
class Written:
    """What `write_videos` made: a video for each script, a grid video of all, a contact sheet, and a record of how."""

    videos: tuple[Path, ...]
    grid_video: Path
    contact_sheet: Path
    record: Path
    frames_per_second: float  # imagined frames a second of computing, all videos together, decoding included
    psnr: tuple[tuple[float, ...], ...] = field(default=())  # dB to the real future, of each step of each script


def write_videos(
    simulator: Simulator,
    futures: Futures,
    out: Path,
    *,
    real: Sequence[np.ndarray] = (),
    about: Mapping[str, Any],
    report: StageReport = no_report,
) -> Written:
    """Draw `futures` into the directory `out`, beside the `real` future of each where that is given.

    Each file gets its name when it is complete. Frames are decoded as they are drawn: memory does not grow with the
    number of steps.

    Args:
        real: uint8 (n, H, W, 3) for each script, as long as the imagined future.
        about: what else the JSON record says.
        report: is called with ("drawing", frames done, frames) as it goes.

    Raises:
        OSError: if `out` cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    decoded = [DecodedFrames(simulator, futures.context.frames, codes) for codes in futures.codes]
    pairs = _videos(futures, decoded, real)
    stems = file_names(futures.scripts, reserved=[ALL])
    paths = tuple(out / f"{stem}.mp4" for stem in stems)
    grids = {path: [pair] for path, pair in zip(paths, pairs, strict=True)} | {out / f"{ALL}.mp4": _wrap(pairs)}
    psnr = _draw_videos(grids, pairs, simulator.frames_per_second, report)
    count = futures.num_steps * len(pairs)
    seconds = futures.seconds + sum(frames.seconds for frames in decoded)
    sheet = out / f"{ALL}.png"
    with replacing(sheet) as temporary:
        draw_contact_sheet(pairs, frames_per_second=simulator.frames_per_second).save(
            temporary, format="PNG", compress_level=4
        )
    written = Written(
        videos=paths,
        grid_video=out / f"{ALL}.mp4",
        contact_sheet=sheet,
        record=out / f"{ALL}.json",
        frames_per_second=count / seconds,
        psnr=psnr,
    )
    _write_record(written, futures, about)
    return written


def _videos(futures: Futures, decoded: Sequence[DecodedFrames], real: Sequence[np.ndarray]) -> list[list[Video]]:
    """Return for each script its videos: the real one, if there is one, and the imagined one."""
    context = futures.context.frames
    pairs = []
    for number, (script, frames) in enumerate(zip(futures.scripts, decoded, strict=True)):
        pressed = script.names(futures.num_steps)
        video = Video(
            label=script.text,
            frames=frames,
            num_context=len(context),
            kind="imagined",
            pressed=pressed,
            aspect=futures.context.aspect,
        )
        truth = [replace(video, frames=np.concatenate([context, real[number]]), kind="real")] if len(real) else []
        pairs.append([*truth, video])
    return pairs


def _wrap(pairs: Sequence[Sequence[Video]]) -> list[list[Video]]:
    """Return the grid of all videos: scripts beside each other, the real future of each above the imagined one."""
    bands = [pairs[start : start + COLUMNS] for start in range(0, len(pairs), COLUMNS)]
    return [[pair[row] for pair in band] for band in bands for row in range(len(band[0]))]


def _draw_videos(
    grids: Mapping[Path, list[list[Video]]],
    pairs: Sequence[Sequence[Video]],
    frames_per_second: float,
    report: StageReport,
) -> tuple[tuple[float, ...], ...]:
    """Write all video files in step, so that each frame is decoded once; return each script's PSNR to its real future.

    While the encoders, which need no Python, work on one frame of each file, the next is drawn.
    """
    num_context, length = pairs[0][0].num_context, len(pairs[0][0].frames)
    psnr: list[list[float]] = [[] for pair in pairs if len(pair) > 1]
    with ExitStack() as stack:
        writers = [stack.enter_context(VideoWriter(path, frames_per_second=frames_per_second)) for path in grids]
        drawn: list[Iterator[np.ndarray]] = [
            draw_grid_video(grid, frames_per_second=frames_per_second) for grid in grids.values()
        ]
        pool = stack.enter_context(ThreadPoolExecutor())
        encoding: Iterator[None] = iter(())
        for index in range(length):
            frames = [next(video) for video in drawn]
            list(encoding)
            encoding = pool.map(VideoWriter.write, writers, frames)
            if index >= num_context:
                for values, (real, imagined) in zip(psnr, pairs, strict=bool(psnr)):
                    values.append(decibels(real.frames[index], imagined.frames[index]))
            report("drawing", index + 1, length)
        list(encoding)
    return tuple(tuple(values) for values in psnr)


def decibels(real: np.ndarray, imagined: np.ndarray) -> float:
    """Return the PSNR of one frame against another, uint8 (H, W, 3), in dB; infinite if they are equal."""
    error = float(np.mean(np.square(real.astype(np.float32) - imagined)))
    return 20 * math.log10(255) - 10 * math.log10(error) if error else math.inf


def _write_record(written: Written, futures: Futures, about: Mapping[str, Any]) -> None:
    videos: list[dict[str, Any]] = [
        {"action": script.text, "file": path.name, "actions": list(script.names(futures.num_steps))}
        for script, path in zip(futures.scripts, written.videos, strict=True)
    ]
    for video, psnr in zip(videos, written.psnr, strict=bool(written.psnr)):
        video["psnr"] = [round(value, 3) if math.isfinite(value) else None for value in psnr]
    record = {
        **about,
        "context": {**futures.context.description, "frames": len(futures.context.frames)},
        "steps": futures.num_steps,
        "videos": videos,
        "grid_video": written.grid_video.name,
        "contact_sheet": written.contact_sheet.name,
        "frames_per_second": round(written.frames_per_second, 3),
    }
    with replacing(written.record) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n")
