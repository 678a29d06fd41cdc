"""How likely is the real future under the model, given the real past, its own frame, or its own past?

Three regimes. Fully teacher-forced: the real next frame's codes given the real past, each code given the real codes
before it. Temporally teacher-forced: the same past, but the frame is the model's own draw at temperature 1, and its
likelihood under the model estimates the entropy of the prediction; a model that is neither too sure nor too unsure has
that entropy as its cross-entropy, too. Autoregressive: the past after the context is imagined, and both the real frame
and the imagined one are scored given it. Actions are right, another clip's, random or not told, in all of the past.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...dynamics.features import Features
from ...simulator import Simulator
from ...types import NO_ACTION, Report
from ..harness.clips import Clips
from ..harness.subject import Subject
from ..metrics.intervals import bootstrap, paired, rounded
from ..metrics.scoring import draw, frame_nats, past_features, recording

STEPS = 10
CLIPS_OF = 128, 48  # of so many clips that are asked for, so many are scored: a pass costs as much as imagining
AT_ONCE = 4  # clips
OWN, GIVEN_IMAGINED, OWN_IMAGINED, SQUARES = "own", "given imagined past", "own given imagined past", "squared error"


def measure(subject: Subject, report: Report) -> dict[str, Any]:
    """Return nats a code in the three regimes and with wrong actions, bits a frame, and bits a pixel value."""
    simulator, rng = subject.simulator, np.random.default_rng(subject.seed)
    number = max(AT_ONCE, subject.num_clips * CLIPS_OF[1] // CLIPS_OF[0] // (10 if subject.quick else 1))
    clips = subject.clips(STEPS, number=number)
    told = {
        "right": clips.actions,
        "shuffled": np.roll(clips.actions, 1, axis=0),  # those of another clip
        "random": rng.integers(len(simulator.action_names), size=clips.actions.shape),
        "none": np.full_like(clips.actions, NO_ACTION),
    }
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, number, AT_ONCE):
        some = {name: actions[start : start + AT_ONCE] for name, actions in told.items()}
        clip = clips[start : start + AT_ONCE]
        for name, values in _score(simulator, clip, some, context=subject.context, seed=subject.seed + start).items():
            parts.setdefault(name, []).append(values)
        report(start + len(clip.frames), number)
    return _summary(simulator, {name: np.concatenate(values) for name, values in parts.items()}, rng)


def _score(
    simulator: Simulator, clips: Clips, told: dict[str, np.ndarray], *, context: int, seed: int
) -> dict[str, np.ndarray]:
    """Return nats a code of the frames after the context, (b n), in each regime, and their squared errors."""
    codes = simulator.tokenizer.encode(clips.frames)
    targets, out = codes[:, context:], {}
    for name, actions in told.items():
        features = past_features(simulator, codes[:, :-1], actions)[:, context - 1 :]
        out[name] = frame_nats(simulator, features, targets)
        if name == "right":
            own = draw(simulator, features, torch.Generator().manual_seed(seed))
            out[OWN] = frame_nats(simulator, features, own)
    features, imagined = _imagine(simulator, codes, clips.actions, context=context, seed=seed)
    out[GIVEN_IMAGINED] = frame_nats(simulator, features, targets)
    out[OWN_IMAGINED] = frame_nats(simulator, features, imagined)
    error = simulator.decode(targets).astype(np.float32) - clips.frames[:, context:]
    out[SQUARES] = np.square(error).mean((-3, -2, -1), dtype=np.float64)
    return out


def _imagine(
    simulator: Simulator, codes: Tensor, actions: np.ndarray, *, context: int, seed: int
) -> tuple[Features, Tensor]:
    """Return the features (b n) that the model had of each imagined frame, and its codes (b n h w)."""
    told: list[tuple[Features, Tensor]] = []
    listened = recording(simulator, lambda features, frame: told.append((features, frame)))
    listened.seed(seed)
    listened.reset_codes(codes[:, :context], torch.as_tensor(actions[:, : context - 1]))
    for step in range(context - 1, actions.shape[1]):
        listened.step(actions[:, step])
    known, drawn = zip(*told, strict=True)
    return Features.stack(known), torch.stack(drawn, dim=1)


def _summary(simulator: Simulator, nats: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, Any]:
    config = simulator.tokenizer.config
    bits = config.num_codes / math.log(2)  # bits a frame for each nat a code
    uniform = config.num_codes * math.log2(config.codebook_size)
    values = config.frame_size**2 * 3
    pixels = pixel_bits(nats[SQUARES], _deviation(simulator)).mean(1)
    mean = {name: by_step.mean(1) for name, by_step in nats.items()}
    told = ("right", "shuffled", "random", "none")
    return {
        "clips": len(nats["right"]),
        "fully_teacher_forced": {name: bootstrap(mean[name], rng) for name in told},
        "cost_of_actions": {name: paired(mean[name], mean["right"], rng) for name in told[1:]},
        "temporally_teacher_forced": {
            "real": bootstrap(mean["right"], rng),
            "own": bootstrap(mean[OWN], rng),
            "real_above_own": paired(mean["right"], mean[OWN], rng),
        },
        "autoregressive": {
            "steps": list(range(1, nats["right"].shape[1] + 1)),
            "real_given_real_past": bootstrap(nats["right"], rng),
            "real_given_imagined_past": bootstrap(nats[GIVEN_IMAGINED], rng),
            "own_given_imagined_past": bootstrap(nats[OWN_IMAGINED], rng),
        },
        "bits_per_frame": {"uniform": uniform, **{name: bootstrap(mean[name] * bits, rng) for name in told}},
        "bits_per_dim": {
            "uniform_prior": bootstrap(pixels + uniform / values, rng),
            "learned_prior": bootstrap(pixels + mean["right"] * bits / values, rng),
            "of_which_pixels": bootstrap(pixels, rng),
        },
        "per_clip": {name: rounded(nats[name]) for name in told},
        "sanity": _sanity({name: float(value.mean()) for name, value in nats.items()}, uniform / bits),
    }


def pixel_bits(squares: np.ndarray, deviation: float) -> np.ndarray:
    """Return bits a pixel value under a Gaussian of `deviation` grey levels, from mean squared errors."""
    nats = 0.5 * squares / deviation**2 + math.log(deviation) + 0.5 * math.log(2 * math.pi)
    return nats / math.log(2)


def _deviation(simulator: Simulator) -> float:
    """Return the tokenizer's learned deviation in grey levels, which never falls below one."""
    return math.exp(max(0.0, simulator.tokenizer.log_deviation.item()))


def _sanity(nats: dict[str, float], uniform: float) -> list[dict[str, Any]]:
    order = (
        ("right actions explain the future better than random ones", "right", "random"),
        ("right actions explain the future better than another clip's", "right", "shuffled"),
        ("right actions explain the future better than none", "right", "none"),
        ("the real past explains the future better than an imagined one", "right", GIVEN_IMAGINED),
    )
    rows = [
        {"claim": claim, "holds": nats[better] < nats[worse], "figures": {name: nats[name] for name in (better, worse)}}
        for claim, better, worse in order
    ]
    figures = {"right": nats["right"], "uniform": uniform}
    return [*rows, {"claim": "the model beats the uniform prior", "holds": nats["right"] < uniform, "figures": figures}]
