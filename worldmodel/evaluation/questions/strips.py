"""What does it look like? Video strips of a few clips, beside the numbers: no clip is chosen for its looks."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from ...types import Report
from ..harness.clips import Clips
from ..harness.subject import Conditional, Subject, Unconditional
from ..harness.tokenizer_alone import TokenizerSubject

HORIZON = 10
STEPS = (1, 2, 4, 6, 8, 10)
NUM_CLIPS = 4
QUICK_CLIPS = 2
GAP = 3  # pixels
ROWS = ("real", "reconstruction", "model", "no_actions")


def measure(subject: Subject | TokenizerSubject, report: Report) -> dict[str, Any]:
    """Return the strips of the first moving clips: the actions, and one PNG for each of ROWS, as base64.

    Where there is no dynamics, only the first two.
    """
    drawn = subject.clips(HORIZON, number=4 * NUM_CLIPS)
    moving_first = np.argsort(~drawn.moving, kind="stable")
    wanted = moving_first[: QUICK_CLIPS if subject.quick else NUM_CLIPS]
    names = subject.dataset.info.action_names
    strips = []
    for done, index in enumerate(wanted):
        report(done, len(wanted))
        clip = drawn[int(index) : int(index) + 1]
        rows = _rows(subject, clip)
        actions = clip.actions[0, subject.context - 1 :]
        strips.append(
            {
                "place": [int(number) for number in clip.places[0]],
                "actions": [names[actions[step - 1]] for step in STEPS],
                "rows": {row: encode_png(_side_by_side(rows[row])) for row in ROWS if row in rows},
            }
        )
    report(len(wanted), len(wanted))
    return {"strips": strips, "steps": list(STEPS)}


def _rows(subject: Subject | TokenizerSubject, clip: Clips) -> dict[str, np.ndarray]:
    """Return the frames uint8 (n H W 3) of each of ROWS that there is after the context of one clip."""
    context = subject.context
    real, future = clip.frames[:, context:], clip.actions[:, context - 1 :]
    if isinstance(subject, TokenizerSubject):
        return {"real": real[0], "reconstruction": subject.tokenizer.decode(subject.tokenizer.encode(real))[0]}
    simulator = subject.simulator
    asked = {"context": context, "seed": subject.seed}
    return {
        "real": real[0],
        "reconstruction": simulator.decode(simulator.tokenizer.encode(real))[0],
        "model": Conditional(simulator)(clip, future, **asked)[0],
        "no_actions": Unconditional(simulator)(clip, future, **asked)[0],
    }


def _side_by_side(frames: np.ndarray) -> np.ndarray:
    """Return the frames of STEPS as one picture, with clear columns between them: (n H W 3) -> (H W' 4)."""
    opaque = np.full_like(frames[..., :1], 255)
    frames = np.concatenate([frames, opaque], axis=-1)
    gap = np.zeros((frames.shape[1], GAP, 4), np.uint8)
    return np.concatenate([part for step in STEPS for part in (frames[step - 1], gap)][:-1], axis=1)


def encode_png(picture: np.ndarray) -> str:
    """Return a picture uint8 (H W 3 or 4) as the base64 text of a PNG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
