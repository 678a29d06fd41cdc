"""How likely is the real future under the model, given the real past, its own frame, or its own past?

Three regimes. Fully teacher-forced: the real next frame's codes given the real past, each code given the real codes
before it. Temporally teacher-forced: the same past, but the frame is the model's own draw at temperature 1, and its
likelihood under the model estimates the entropy of the prediction; a model that is neither too sure nor too unsure has
that entropy as its cross-entropy, too. Autoregressive: the past after the context is imagined, and both the real frame
and the imagined one are scored given it; real frames given the real past are scored there as imagined ones are.
Actions are right, another clip's (shuffled), random or none, in all of the past.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from ...simulator import Simulator
from ...types import UNKNOWN_ACTION, Report
from ..answers import Answer, Claim, Scalar, Series, Table
from ..harness.clips import Clips
from ..harness.subject import Subject
from ..metrics.intervals import bootstrap, by_step, in_order, paired, rounded
from ..metrics.scoring import draw, frame_nats, past_features, record

STEPS = 10
CLIPS_OF = 128, 48  # of so many clips that are asked for, so many are scored: a pass costs as much as imagining
AT_ONCE = 4  # clips
OWN, AS_IMAGINED, GIVEN_IMAGINED, OWN_IMAGINED, SQUARES = (
    "own",
    "as imagined",
    "given imagined past",
    "own given imagined past",
    "squared error",
)
ACTIONS = ("right", "shuffled", "random", "none")

Nats = dict[str, np.ndarray]  # nats a code (b n) in each regime, and the decoder's squared errors


def measure(subject: Subject, report: Report) -> Answer:
    """Return nats a code in the three regimes and with wrong actions, bits a frame, and bits a pixel value."""
    number = max(AT_ONCE, subject.few(subject.num_clips * CLIPS_OF[1] // CLIPS_OF[0]))
    clips = subject.clips(STEPS, number=number)
    rows: dict[str, Nats] = {}
    total = number * len(subject.simulators)
    for done, (row, simulator) in enumerate(subject.simulators.items()):
        rows[row] = _nats(subject, simulator, clips, partial(_go_on, report, done * number, total))
    return _summary(subject, rows)


def _go_on(report: Report, before: int, total: int, done: int) -> None:
    report(before + done, total)


def _nats(subject: Subject, simulator: Simulator, clips: Clips, report: Callable[[int], None]) -> Nats:
    """Return nats a code of every clip in each regime."""
    names = len(simulator.action_names)
    asked = {
        "right": clips.actions,
        "shuffled": np.roll(clips.actions, 1, axis=0),  # those of another clip
        "random": np.random.default_rng(subject.seed).integers(names, size=clips.actions.shape),
        "none": np.full_like(clips.actions, UNKNOWN_ACTION),
    }
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(clips.frames), AT_ONCE):
        some = {name: actions[start : start + AT_ONCE] for name, actions in asked.items()}
        clip = clips[start : start + AT_ONCE]
        for name, values in _score(simulator, clip, some, context=subject.context, seed=subject.seed + start).items():
            parts.setdefault(name, []).append(values)
        report(start + len(clip.frames))
    return {name: np.concatenate(values) for name, values in parts.items()}


def _score(simulator: Simulator, clips: Clips, asked: dict[str, np.ndarray], *, context: int, seed: int) -> Nats:
    """Return nats a code of the frames after the context, (b n), in each regime, and their squared errors."""
    codes = simulator.tokenizer.encode(clips.frames)
    targets, out = codes[:, context:], {}
    for name, actions in asked.items():
        features = past_features(simulator, codes[:, :-1], actions)[:, context - 1 :]
        out[name] = frame_nats(simulator, features, targets)
        if name == "right":
            own = draw(simulator, features, torch.Generator().manual_seed(seed))
            out[OWN] = frame_nats(simulator, features, own)
    real = past_features(simulator, codes[:, :-1], asked["right"], num_real=context)[:, context - 1 :]
    out[AS_IMAGINED] = frame_nats(simulator, real, targets)
    recorded = record(simulator, codes[:, :context], clips.actions, context=context, seed=seed)
    out[GIVEN_IMAGINED] = frame_nats(simulator, recorded.features, targets)
    out[OWN_IMAGINED] = frame_nats(simulator, recorded.features, recorded.codes)
    error = simulator.decode(targets).astype(np.float32) - clips.frames[:, context:]
    out[SQUARES] = np.square(error).mean((-3, -2, -1), dtype=np.float64)
    return out


def _summary(subject: Subject, rows: dict[str, Nats]) -> Answer:
    config, rng = subject.simulator.tokenizer.config, np.random.default_rng(subject.seed)
    bits = config.num_codes / math.log(2)  # bits a frame for each nat a code
    uniform = config.num_codes * math.log2(config.codebook_size)
    values = config.frame_size**2 * 3
    means = {row: {name: by_step.mean(1) for name, by_step in nats.items()} for row, nats in rows.items()}
    pixels = pixel_bits(rows["model"][SQUARES], _deviation(subject.simulator)).mean(1)
    dims = {"uniform_prior": pixels + uniform / values}
    dims |= {row: pixels + mean["right"] * bits / values for row, mean in means.items()}
    dims["of_which_pixels"] = pixels
    return Answer(
        scalars={"clips": Scalar(len(pixels))},
        tables={
            "fully_teacher_forced": Table(
                "fully teacher-forced, nats a code, by the actions that are given",
                ACTIONS,
                {row: tuple(bootstrap(mean[name], rng) for name in ACTIONS) for row, mean in means.items()},
            ),
            "cost_of_actions": Table(
                "cost of other actions than the right ones, nats a code",
                ACTIONS[1:],
                {
                    row: tuple(paired(mean[name], mean["right"], rng) for name in ACTIONS[1:])
                    for row, mean in means.items()
                },
            ),
            "temporally_teacher_forced": Table(
                "temporally teacher-forced, nats a code",
                ("real", "own", "real above own"),
                {row: _against_own(mean, rng) for row, mean in means.items()},
            ),
            "bits_per_frame": Table(
                "bits a frame",
                ("uniform", *ACTIONS),
                {
                    row: (Scalar(uniform), *(bootstrap(mean[name] * bits, rng) for name in ACTIONS))
                    for row, mean in means.items()
                },
            ),
            "bits_per_dim": Table(
                "bits a pixel value", ("bits",), {row: (bootstrap(value, rng),) for row, value in dims.items()}
            ),
        },
        series={
            "autoregressive" if row == "model" else f"autoregressive_{row}": _autoregressive(row, nats, rng)
            for row, nats in rows.items()
        },
        clips={f"{row}/{name}": rounded(nats[name]) for row, nats in rows.items() for name in ACTIONS},
        claims=tuple(_claims(means["model"], uniform / bits)),
    )


def _against_own(mean: Nats, rng: np.random.Generator) -> tuple[Scalar, ...]:
    return bootstrap(mean["right"], rng), bootstrap(mean[OWN], rng), paired(mean["right"], mean[OWN], rng)


def _autoregressive(row: str, nats: Nats, rng: np.random.Generator) -> Series:
    title = "autoregressive, nats a code" if row == "model" else "autoregressive without map, nats a code"
    curves = {
        "real given real past": nats[AS_IMAGINED],
        "real given imagined past": nats[GIVEN_IMAGINED],
        "own given imagined past": nats[OWN_IMAGINED],
    }
    return Series(title, tuple(range(1, STEPS + 1)), {name: by_step(found, rng) for name, found in curves.items()})


def pixel_bits(squares: np.ndarray, deviation: float) -> np.ndarray:
    """Return bits a pixel value under a Gaussian of `deviation` grey levels, from mean squared errors."""
    nats = 0.5 * squares / deviation**2 + math.log(deviation) + 0.5 * math.log(2 * math.pi)
    return nats / math.log(2)


def _deviation(simulator: Simulator) -> float:
    """Return the tokenizer's learned deviation in grey levels, which never falls below one."""
    return math.exp(max(0.0, simulator.tokenizer.log_deviation.item()))


def _claims(nats: Nats, uniform: float) -> Iterator[Claim]:
    """Yield the claims that hold for every model, of nats a code (b): knowing more is not clearly worse."""
    for text, less, more in (
        ("right actions explain the future no worse than random ones", "random", "right"),
        ("right actions explain the future no worse than another clip's", "shuffled", "right"),
        ("right actions explain the future no worse than none", "none", "right"),
        ("the real past explains the future no worse than an imagined one", GIVEN_IMAGINED, AS_IMAGINED),
    ):
        yield in_order(text, {less: nats[less], more: nats[more]})
    figures = {"right": float(nats["right"].mean()), "uniform": uniform}
    yield Claim(text="the model beats the uniform prior", holds=figures["right"] < uniform, figures=figures)
