"""Where the bar is: what a shipped checkpoint must reach on held-out data, and what it should."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .tables import is_number, number

HORIZON = "10"
OTHER_COMMANDS = "not by this command"

Reading = tuple[str, bool | None]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A bar, and how the numbers stand to it; `met` is None where they do not say."""

    name: str
    must: str
    aim: str
    measured: str
    met: bool | None


def bars(metrics: Mapping[str, Any]) -> list[Bar]:
    """Return every bar with what `metrics`, the content of a metrics.json, says of it."""
    found = []
    for name, must, aim, read in BARS:
        try:
            measured, met = read(metrics["parts"])
        except KeyError:  # a part that was not asked, or could not be
            measured, met = "not measured", None
        found.append(Bar(name=name, must=must, aim=aim, measured=measured, met=met))
    return found


def mean(value: Any) -> Any:
    """Return a number, or numbers by step, without the interval."""
    return value["mean"] if is_number(value) else value


def _tokenizer(parts: Mapping[str, Any]) -> Reading:
    ours = mean(parts["tokenizer"]["psnr_moving"])
    coded = parts["tokenizer"].get("equal_bytes", {}).get("psnr_moving", {})
    text = f"{ours:.1f} dB"
    if "jpeg" not in coded:
        return text, None if ours >= 33 else False
    others = ", ".join(f"{name.upper()} {mean(coded[name]):.1f}" for name in ("jpeg", "webp") if name in coded)
    return f"{text} ({others})", ours >= 33 and mean(coded["tokenizer"]) >= mean(coded["jpeg"])


def _codes(parts: Mapping[str, Any]) -> Reading:
    used, share = parts["tokenizer"]["codes_used"], parts["tokenizer"]["commonest_code"]
    return f"{used} / {share:.1%}", used >= 512 and share < 0.1


def _rows(parts: Mapping[str, Any]) -> Mapping[str, Any]:
    return {row: mean(values) for row, values in parts["fidelity"]["horizons"][HORIZON]["psnr"].items()}


def _above_copy_last(parts: Mapping[str, Any]) -> Reading:
    rows = _rows(parts)
    above = [model - copy for model, copy in zip(rows["model"], rows["copy_last"], strict=True)]
    return f"{min(above):.1f} to {max(above):.1f} dB", min(above) >= 3


def _below_ceiling(parts: Mapping[str, Any]) -> Reading:
    rows = _rows(parts)
    below = [ceiling - model for ceiling, model in zip(rows["reconstruction"], rows["model"], strict=True)]
    return f"{below[0]:.1f} / {below[-1]:.1f} dB", below[0] <= 5 and below[-1] <= 10


def _counterfactual(parts: Mapping[str, Any]) -> Reading:
    top1 = mean(parts["control"]["counterfactual"]["rows"]["model"]["top1"])
    return f"{top1:.0%}", top1 >= 0.9


def _delta_psnr(parts: Mapping[str, Any]) -> Reading:
    delta = mean(parts["control"]["delta_psnr"]["model"])[-1]
    return f"{delta:.1f} dB", delta >= 3


def _own_nats(parts: Mapping[str, Any]) -> Reading:
    ends = {
        frames: round(mean(found["own_nats_over_real"])[-1] - 1, 4)
        for frames, found in parts["stability"]["horizons"].items()
    }
    text = ", ".join(f"{ratio:+.0%} after {frames}" for frames, ratio in ends.items())
    return text, abs(ends["300"]) <= 0.1


def _imagine(parts: Mapping[str, Any]) -> Reading:
    speed = parts["speed"]["frames_per_second"]["batch_1"]["median"]
    return f"{number(speed)} frames/s", speed >= 8.75


def _elsewhere(parts: Mapping[str, Any]) -> Reading:
    return OTHER_COMMANDS, None


# Name, must, aim, and who reads it off the parts.
BARS: tuple[tuple[str, str, str, Callable[[Mapping[str, Any]], Reading]], ...] = (
    ("tokenizer, moving clips", "33 dB, and JPEG's PSNR at equal bytes", "WebP at equal bytes", _tokenizer),
    ("codes used / commonest code", "512 / below 10%", "", _codes),
    ("model above copy-last, steps 1 to 10", "3 dB at each", "6 dB", _above_copy_last),
    ("below the reconstruction ceiling, steps 1 / 10", "at most 5 / 10 dB", "2 / 6 dB", _below_ceiling),
    ("counterfactual top-1 among the actions, step 4", "90%", "98%", _counterfactual),
    ("delta-PSNR at step 4", "3 dB", "5 dB", _delta_psnr),
    ("NLL of its own samples, against real frames", "within 10% after 300", "3,000 frames", _own_nats),
    ("imagine, one video", "8.75 frames/s (real time)", "17.5 frames/s", _imagine),
    ("speed against DIAMOND's sampler at the same size", "5 times", "10 times", _elsewhere),
    ("memory growth over 10,000 frames", "below 32 MiB", "", _elsewhere),
    ("collection, of the bare engine's speed", "80%", "", _elsewhere),
)
