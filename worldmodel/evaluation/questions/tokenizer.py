"""How much of a frame survives being turned into codes, and is that more than an image codec keeps in as many bytes?"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...types import Report
from ..answers import Answer, Claim, Scalar, Table
from ..harness.clips import Clips, psnr
from ..harness.subject import Subject
from ..harness.tokenizer_alone import TokenizerSubject
from ..metrics.codecs import CODECS, available, within
from ..metrics.coding import Coding, alone, facts, per_clip, through_codes
from ..metrics.images import gradient_energy, ssim
from ..metrics.intervals import all_and_moving, rounded

HORIZON = 10  # the clips are those on which fidelity is measured
TINY = 1e-9


def measure(subject: Subject | TokenizerSubject, report: Report) -> Answer:
    """Return how near reconstructions are, how the latents are used, and how image codecs fare at equal bytes.

    Each clip counts as one: its frames are averaged before the interval over clips is drawn. Of a tokenizer or a VAE
    without a dynamics it is also asked how many bits a pixel value costs, and how much the latents matter.
    """
    rng = np.random.default_rng(subject.seed)
    clips = subject.clips(HORIZON, number=max(2, subject.num_clips // 10) if subject.quick else None)
    total = 2 * len(clips.frames)
    coding = _code(subject, clips, lambda done: report(done, total))
    reconstruction = coding.reconstruction
    nearness = psnr(reconstruction, clips.frames)
    structure = ssim(reconstruction, clips.frames)
    coded = equal_bytes(
        clips,
        coding.sampled,
        budget=math.ceil(coding.bits / 8),
        rng=rng,
        report=lambda done: report(len(clips.frames) + done, total),
    )
    rows = {"psnr": nearness, "ssim": structure, **per_clip(coding)}
    figures = {
        "clips": len(clips.frames),
        "frames": int(nearness.size),
        **_sharpness(reconstruction, clips),
        **coding.usage,
    }
    answer = Answer(
        scalars=all_and_moving("psnr", nearness.mean(1), clips.moving, rng)
        | all_and_moving("ssim", structure.mean(1), clips.moving, rng)
        | {name: Scalar(value) for name, value in figures.items()},
        clips={name: rounded(values) for name, values in rows.items()},
        claims=(_sanity(nearness, clips),),
    )
    answer |= coded
    return answer | facts(coding, nearness, clips.moving, rng) if coding.rows else answer


def _code(subject: Subject | TokenizerSubject, clips: Clips, on_clip: Callable[[int], None]) -> Coding:
    if isinstance(subject, TokenizerSubject):
        return alone(subject.tokenizer, clips, seed=subject.seed, on_clip=on_clip)
    tokenizer = subject.simulator.tokenizer
    return through_codes(tokenizer.encode, subject.simulator.decode, clips, tokenizer.config, on_clip)


def equal_bytes(
    clips: Clips, reconstruction: np.ndarray, *, budget: int, rng: np.random.Generator, report: Callable[[int], None]
) -> Answer:
    """Return the PSNR of the last frame of each clip, from the tokenizer and from each codec within `budget` bytes.

    `bytes` is the mean of whole files, headers included; `over_budget` the share of frames for which even the lowest
    quality is larger. The tokenizer's bytes are its codes' at a fixed length each. A VAE's are its KL, for which
    bits-back coding (Hinton and van Camp 1993) sends a draw from the posterior: its frames are draws, not means.
    """
    real, moving = clips.frames[:, -1], clips.moving
    codecs = [codec for codec in CODECS if available(codec)]
    values: dict[str, list[float]] = {codec: [] for codec in codecs}
    sizes: dict[str, list[int]] = {codec: [] for codec in codecs}
    for done, frame in enumerate(real, 1):
        for codec in codecs:
            coded = within(frame, codec, budget=budget)
            values[codec].append(float(psnr(coded.frame, frame)))
            sizes[codec].append(coded.size)
        report(done)
    rows = {"tokenizer": psnr(reconstruction[:, -1], real)}
    rows |= {codec.lower(): np.array(values[codec]) for codec in codecs}
    files = {"tokenizer": (float(budget), 0.0)}
    files |= {c.lower(): (float(np.mean(sizes[c])), float(np.mean(np.array(sizes[c]) > budget))) for c in codecs}
    cells = {
        row: (*all_and_moving("psnr", quality, moving, rng).values(), *map(Scalar, files[row]))
        for row, quality in rows.items()
    }
    table = Table(f"at most {budget:,} bytes a frame", ("psnr", "psnr_moving", "bytes", "over_budget"), cells)
    missing = {codec.lower(): "Pillow has no such codec here" for codec in CODECS if codec not in codecs}
    return Answer(scalars={"budget_bytes": Scalar(budget)}, tables={"equal_bytes": table}, skipped=missing)


def _sharpness(reconstruction: np.ndarray, clips: Clips) -> dict[str, float]:
    """Return the gradient energy of reconstructions over that of the frames, over all and over moving clips."""
    ours, theirs = gradient_energy(reconstruction), gradient_energy(clips.frames)
    moving = clips.moving if clips.moving.any() else np.ones_like(clips.moving)
    return {
        "sharpness": float(ours.sum() / max(theirs.sum(), TINY)),
        "sharpness_moving": float(ours[moving].sum() / max(theirs[moving].sum(), TINY)),
    }


def _sanity(nearness: np.ndarray, clips: Clips) -> Claim:
    """A reconstruction has to be nearer to its frame than the frame of another clip is."""
    others = float(psnr(np.roll(clips.frames, 1, axis=0), clips.frames).mean())
    ours = float(nearness.mean())
    text = "a reconstruction is nearer to its frame than another clip's frame is"
    return Claim(text=text, holds=ours > others, figures={"reconstruction": ours, "other clip": others})
