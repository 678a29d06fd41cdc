"""Counterfactual starts: states to which the real engine is brought back and given every action.

At a start every action is held for some steps in the real engine and in imagination. What is imagined under an
action has to be nearer to the real future of that action than to the real future of any other.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ...video.figure import CELL_BORDER, IMAGINED, LIGHT, REAL, font
from ..answers import Picture, Scalar
from ..harness.clips import Clips, psnr
from ..harness.oracle import Oracle
from ..harness.subject import Imaginer, slices
from .intervals import bootstrap

ALIKE_DB = 35.0  # two real futures whose last frames are nearer than this are one: a tokenizer's error is as large


@dataclass(frozen=True, kw_only=True)
class CounterfactualStarts:
    """Clips of the context alone, and what the real engine shows after each under every action."""

    clips: Clips  # (b)
    futures: np.ndarray  # uint8 (b a n H W 3)
    apart: np.ndarray  # bool (b a): actions that take part; of those whose futures look alike only the first does
    ended: int  # clips left out since the real game ends under one of the actions
    alike: int  # clips left out since all actions lead to the same

    def __getitem__(self, part: slice) -> CounterfactualStarts:
        """Return some of the starts."""
        futures, apart = self.futures[part], self.apart[part]
        return CounterfactualStarts(
            clips=self.clips[part], futures=futures, apart=apart, ended=self.ended, alike=self.alike
        )

    @property
    def chance(self) -> float:
        """The best accuracy that is possible without looking at the action."""
        return float((1 / self.apart.sum(1)).mean())


def find_starts(
    oracle: Oracle, clips: Clips, *, context: int, steps: int, on_clip: Callable[[int], None] = lambda done: None
) -> CounterfactualStarts:
    """Return the starts at the end of each clip's context, without those where there is nothing to choose.

    Raises:
        ValueError: if the engine does not show the recorded context again, or no clip is left.
    """
    chosen, futures, apart, ended = [], [], [], 0
    for i in range(len(clips.frames)):
        every = oracle.every_future(clips[i : i + 1], context=context, steps=steps)
        on_clip(i + 1)
        if every is None:
            ended += 1
            continue
        takes_part = distinguishable(every[:, -1])
        if takes_part.sum() > 1:
            chosen.append(i)
            futures.append(every)
            apart.append(takes_part)
    if not chosen:
        raise ValueError(f"at none of {len(clips.frames)} clips do the actions lead to different real futures")
    return CounterfactualStarts(
        clips=Clips(
            clips.frames[chosen, :context], clips.actions[chosen, : context - 1], tuple(clips.places[i] for i in chosen)
        ),
        futures=np.stack(futures),
        apart=np.stack(apart),
        ended=ended,
        alike=len(clips.frames) - ended - len(chosen),
    )


def distinguishable(frames: np.ndarray) -> np.ndarray:
    """Return which of some frames, uint8 (a H W 3), look different from all before them that do: bool (a)."""
    apart: list[int] = []
    for action in range(len(frames)):
        if not apart or psnr(frames[apart], frames[action]).max() < ALIKE_DB:
            apart.append(action)
    return np.isin(np.arange(len(frames)), apart)


def imagine_every_action(
    imaginer: Imaginer,
    starts: CounterfactualStarts,
    *,
    seed: int,
    report: Callable[[int, int], None] = lambda d, t: None,
) -> np.ndarray:
    """Return what is imagined at each starts under every action: uint8 (b a n H W 3). Each has its own noise."""
    b, actions, steps = starts.futures.shape[:3]
    context = starts.clips.frames.shape[1]
    futures = []
    for part in slices(b):
        held = np.empty((part.stop - part.start, steps), np.int64)
        clips = starts.clips[part]
        every = [
            imaginer(clips, np.full_like(held, action), context=context, seed=seed + 10_000 * (action + 1) + part.start)
            for action in range(actions)
        ]
        futures.append(np.stack(every, axis=1))
        report(part.stop, b)
    return np.concatenate(futures)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """For each start and action, the action whose real future is nearest to the imagined one."""

    top1: np.ndarray  # (b) share of the actions whose own real future is nearest, by the last frame
    top1_all_steps: np.ndarray  # (b) the same by the mean PSNR of all frames
    ties: int  # of two real futures: each is a miss
    confusion: np.ndarray  # int64 (a a): how often [asked][chosen] by the last frame

    def cells(self, *, seed: int) -> tuple[Scalar, ...]:
        """Return top1, top1_all_steps and ties for a table, with intervals over starts."""
        rng = np.random.default_rng(seed)
        return bootstrap(self.top1, rng), bootstrap(self.top1_all_steps, rng), Scalar(self.ties)


COLUMNS = ("top1", "top1_all_steps", "ties")


def choices(imagined: np.ndarray, starts: CounterfactualStarts) -> Choices:
    """Return how often what is imagined, uint8 (b a n H W 3), is nearest to the real future of its own action.

    Only actions that take part are asked about and chosen among.
    """
    last, steps, ties = [], [], 0
    number = imagined.shape[1]
    confusion = np.zeros((number, number), np.int64)
    for made, futures, apart in zip(imagined, starts.futures, starts.apart, strict=True):
        error = squared_errors(made[apart], futures[apart])  # (asked, candidate, n)
        actions = np.flatnonzero(apart)
        nearest = error[..., -1].argmin(1)
        np.add.at(confusion, (actions, actions[nearest]), 1)
        tied = (error[..., -1] == error[..., -1].min(1, keepdims=True)).sum(1) > 1
        ties += int(tied.sum())
        own = np.arange(len(actions))
        last.append(((nearest == own) & ~tied).mean())
        steps.append((np.log(np.maximum(error, 1)).mean(-1).argmin(1) == own).mean())
    return Choices(top1=np.array(last), top1_all_steps=np.array(steps), ties=ties, confusion=confusion)


def with_shuffled_actions(imagined: np.ndarray, starts: CounterfactualStarts) -> np.ndarray:
    """Return uint8 (b a n H W 3) in which each action that takes part shows the future of the next one that does."""
    wrong = imagined.copy()
    for made, apart in zip(wrong, starts.apart, strict=True):
        made[apart] = np.roll(made[apart], -1, axis=0)
    return wrong


def squared_errors(imagined: np.ndarray, futures: np.ndarray) -> np.ndarray:
    """Return the mean squared error of imagined, uint8 (a n H W 3), to each future (k n H W 3): float64 (a k n)."""
    a, n = imagined.shape[:2]
    ours = imagined.reshape(a, n, -1).astype(np.float64)
    real = futures.reshape(len(futures), n, -1).astype(np.float64)
    # |x - y|^2 = |x|^2 + |y|^2 - 2 x.y, exact: all are sums of integers below 2^53.
    product = np.einsum("anp,knp->akn", ours, real, optimize=True)
    return ((ours**2).sum(-1)[:, None] + (real**2).sum(-1)[None] - 2 * product) / ours.shape[-1]


def picture(starts: CounterfactualStarts, imagined: np.ndarray, action_names: Sequence[str]) -> Picture:
    """Return the start whose futures differ most: a row for each action, the real future, the imagined."""
    spread = [squared_errors(real[:, -1:], real[:, -1:]).mean() for real in starts.futures]
    chosen = int(np.argmax(spread))
    sheet = draw_grid(starts.futures[chosen], imagined[chosen], action_names)
    stream = io.BytesIO()
    sheet.save(stream, format="PNG")
    episode, start = starts.clips.places[chosen]
    return Picture(png=base64.b64encode(stream.getvalue()).decode(), caption=f"episode {episode}, frame {start}")


def draw_grid(real: np.ndarray, imagined: np.ndarray, action_names: Sequence[str]) -> Image.Image:
    """Return uint8 (a n H W 3) twice as a sheet: the name of each action, its real future, then the imagined one."""
    _, n, height, width = real.shape[:4]
    size, gap = max(11, height // 8), max(4, height // 12)
    left = round(max(font(size).getlength(name) for name in action_names)) + 2 * gap
    cell_x, cell_y = width + 2 * CELL_BORDER + 2, height + 2 * CELL_BORDER + 2
    top = size + 2 * gap
    sheet = Image.new("RGB", (left + 2 * n * cell_x + gap, top + len(real) * cell_y), LIGHT.background)
    draw = ImageDraw.Draw(sheet)
    for group, (title, color, frames) in enumerate((("real", REAL, real), ("imagined", IMAGINED, imagined))):
        start = left + group * (n * cell_x + gap)
        for step in range(n):
            x = start + step * cell_x
            draw.text((x + cell_x / 2, gap), f"{title} +{step + 1}", font=font(size), fill=color, anchor="ma")
            for row in range(len(real)):
                y = top + row * cell_y
                draw.rectangle((x, y, x + cell_x - 3, y + cell_y - 3), fill=color)
                sheet.paste(Image.fromarray(frames[row, step]), (x + CELL_BORDER, y + CELL_BORDER))
    for row, name in enumerate(action_names):
        y = top + row * cell_y + cell_y / 2
        draw.text((left - gap, y), name, font=font(size), fill=LIGHT.text, anchor="rm")
    return sheet
