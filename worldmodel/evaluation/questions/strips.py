"""What does it look like? Video strips of a few clips, beside the numbers: no clip is picked by hand."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw

from ...types import Report
from ...video.figure import LIGHT, font
from ..answers import Answer, Picture
from ..harness.clips import Clips
from ..harness.subject import Subject
from ..harness.tokenizer_alone import TokenizerSubject

HORIZON = 10
STEPS = (1, 2, 4, 6, 8, 10)
NUM_CLIPS = 4
QUICK_CLIPS = 2
GAP = 3  # pixels
LABELS = {"without_map": "without map", "no_actions": "without actions"}


def measure(subject: Subject | TokenizerSubject, report: Report) -> Answer:
    """Return the strips of the first moving clips as pictures: the actions, and a row for each who shows the future.

    Where there is no dynamics, only the real frames and their reconstructions.
    """
    drawn = subject.clips(HORIZON, number=subject.few(subject.num_clips))
    moving_first = np.argsort(~drawn.moving, kind="stable")
    names = subject.dataset.info.action_names
    pictures = {}
    wanted = moving_first[: QUICK_CLIPS if subject.quick else NUM_CLIPS]
    rows = _rows(subject, drawn, wanted)
    for done, index in enumerate(map(int, wanted), 1):
        actions = [names[action] for action in drawn.actions[index, subject.context - 1 :]]
        episode, start = drawn.places[index]
        sheet = draw_strip({row: frames[done - 1] for row, frames in rows.items()}, actions)
        pictures[f"episode {episode}, frame {start}"] = Picture(png=encode_png(sheet))
        report(done, len(wanted))
    return Answer(pictures=pictures)


def _rows(subject: Subject | TokenizerSubject, clips: Clips, wanted: np.ndarray) -> dict[str, np.ndarray]:
    """Return the frames uint8 (m n H W 3) of each row after the context of the wanted clips, positions (m).

    All clips are imagined, as elsewhere: what was imagined there is kept.
    """
    context = subject.context
    real, future = clips.frames[wanted][:, context:], clips.actions[:, context - 1 :]
    if isinstance(subject, TokenizerSubject):
        return {"real": real, "reconstruction": subject.tokenizer.decode(subject.tokenizer.encode(real))}
    simulator = subject.simulator
    asked = {**subject.conditional, "no_actions": subject.unconditional}
    codes = {row: made.codes(clips, future, context=context, seed=subject.seed) for row, made in asked.items()}
    imagined = {row: simulator.decode(found[torch.from_numpy(wanted)]) for row, found in codes.items()}
    return {"real": real, "reconstruction": simulator.decode(simulator.tokenizer.encode(real)), **imagined}


def draw_strip(rows: Mapping[str, np.ndarray], actions: Sequence[str]) -> Image.Image:
    """Return the frames of STEPS of each row, uint8 (n H W 3), below the names of the actions that led to them."""
    height, width = next(iter(rows.values())).shape[1:3]
    size = max(9, height // 11)
    left = round(max(font(size).getlength(LABELS.get(row, row)) for row in rows)) + 3 * GAP
    top = 2 * size
    sheet = Image.new("RGB", (left + len(STEPS) * (width + GAP), top + len(rows) * (height + GAP)), LIGHT.background)
    draw = ImageDraw.Draw(sheet)
    for column, step in enumerate(STEPS):
        x = left + column * (width + GAP)
        text = f"{step}: {actions[step - 1].replace('_', ' ')}"
        draw.text((x + width / 2, GAP), text, font=font(size), fill=LIGHT.text, anchor="ma")
        for row, frames in enumerate(rows.values()):
            sheet.paste(Image.fromarray(frames[step - 1]), (x, top + row * (height + GAP)))
    for row, name in enumerate(rows):
        y = top + row * (height + GAP) + height / 2
        draw.text((left - 2 * GAP, y), LABELS.get(name, name), font=font(size), fill=LIGHT.text, anchor="rm")
    return sheet


def encode_png(picture: Image.Image) -> str:
    """Return a picture as the base64 text of a PNG."""
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
