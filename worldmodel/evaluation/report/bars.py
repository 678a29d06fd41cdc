"""The bars: what a shipped checkpoint must reach on held-out data, and what it should."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..answers import Answer
from .tables import number

OTHER_COMMANDS = "not by this command"
MAP, NO_MAP = "model", "without_map"

Answers = Mapping[str, Answer]
Reading = tuple[str, bool | None]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A bar, and how the numbers stand to it; `met` is None where they do not say."""

    name: str
    must: str
    aim: str
    measured: str
    met: bool | None


def bars(answers: Answers) -> list[Bar]:
    """Return every bar with what the answers say of it."""
    found = []
    for name, must, aim, read in BARS:
        try:
            measured, met = read(answers)
        except KeyError:  # a question that was not asked, or could not be
            measured, met = "not measured", None
        found.append(Bar(name=name, must=must, aim=aim, measured=measured, met=met))
    return found


def _tokenizer(answers: Answers) -> Reading:
    found = answers["tokenizer"]
    ours = found.scalars["psnr_moving"].number
    coded = {row: cell.number for row, cell in found.tables["equal_bytes"].column("psnr_moving").items()}
    others = ", ".join(f"{name.upper()} {coded[name]:.1f}" for name in ("webp", "avif") if name in coded)
    text = f"{ours:.1f} dB ({others})" if others else f"{ours:.1f} dB"
    return text, coded["tokenizer"] >= coded["webp"] if "webp" in coded else None


def _codes(answers: Answers) -> Reading:
    scalars = answers["tokenizer"].scalars
    used, size, share = (scalars[name].number for name in ("codes_used", "codebook_size", "commonest_code"))
    return f"{used:.0f} / {share:.1%}", used >= size and share < 0.1


def _small_objects(answers: Answers) -> Reading:
    recall = answers["objects"].scalars["found"].number
    return f"{recall:.1%}", recall >= 0.99


def _psnr(answers: Answers, row: str) -> tuple[float, ...]:
    return answers["fidelity"].series["10/psnr"].rows[row].mean


def _above_copy_last(row: str, must: float) -> Callable[[Answers], Reading]:
    def read(answers: Answers) -> Reading:
        pairs = zip(_psnr(answers, row), _psnr(answers, "copy_last"), strict=True)
        above = [model - copy for model, copy in pairs]
        return f"{min(above):.1f} to {max(above):.1f} dB", min(above) >= must

    return read


def _without_map_at_step_10(answers: Answers) -> Reading:
    above = _psnr(answers, NO_MAP)[-1] - _psnr(answers, "copy_last")[-1]
    return f"{above:.1f} dB", above >= 4


def _below_ceiling(answers: Answers) -> Reading:
    pairs = zip(_psnr(answers, "reconstruction"), _psnr(answers, MAP), strict=True)
    below = [ceiling - model for ceiling, model in pairs]
    return f"{below[0]:.1f} / {below[-1]:.1f} dB", below[0] <= 5 and below[-1] <= 9


def _counterfactual(row: str, must: float) -> Callable[[Answers], Reading]:
    def read(answers: Answers) -> Reading:
        top1 = answers["control"].tables["counterfactuals"][row, "top1"].number
        return f"{top1:.0%}", top1 >= must

    return read


def _delta_psnr(answers: Answers) -> Reading:
    delta = answers["control"].series["delta_psnr"].rows[MAP].mean[-1]
    return f"{delta:.1f} dB", delta >= 3


def _own_nats(answers: Answers) -> Reading:
    series = answers["stability"].series
    lengths = [name.split("/")[0] for name in series if name.endswith("/own_nats_over_real")]
    ends = {length: round(series[f"{length}/own_nats_over_real"].rows[MAP].mean[-1] - 1, 4) for length in lengths}
    text = ", ".join(f"{ratio:+.0%} after {frames}" for frames, ratio in ends.items())
    return text, abs(ends["300"]) <= 0.1


def _idle(answers: Answers) -> Reading:
    psnr = answers["idle"].series["psnr_to_tenth"].rows[MAP].mean[-1]
    return f"{psnr:.1f} dB", psnr >= 30


def _there_and_back(answers: Answers) -> Reading:
    table = answers["there_and_back"].tables["return"]
    median, worst = table[MAP, "median"].number, table[MAP, "worst"].number
    return f"{median:.1f} dB, worst {worst:.1f}", median >= 30 and worst >= 20


def _changes(answers: Answers) -> Reading:
    ratio = answers["changes"].series["error_ratio"].rows[MAP].mean[-1]
    return f"{ratio:.0%} of copy-last's", ratio <= 0.5


def _imagine(answers: Answers) -> Reading:
    speed = answers["speed"].tables["frames_per_second"]["batch_1", "median"].number
    return f"{number(speed)} frames/s", speed >= 8.75


def _elsewhere(answers: Answers) -> Reading:
    return OTHER_COMMANDS, None


# Name, must, aim, and who reads it off the answers.
BARS: tuple[tuple[str, str, str, Callable[[Answers], Reading]], ...] = (
    ("tokenizer, moving clips, PSNR at equal bytes", "WebP's", "AVIF's", _tokenizer),
    ("codes used / commonest code", "all / below 10%", "", _codes),
    ("small objects found in reconstructed frames", "99%", "", _small_objects),
    ("model above copy-last, steps 1 to 10", "6 dB at each", "9 dB", _above_copy_last(MAP, 6)),
    ("model without map above copy-last, step 10", "4 dB", "6 dB", _without_map_at_step_10),
    ("below the reconstruction ceiling, steps 1 / 10", "at most 5 / 9 dB", "3 / 6 dB", _below_ceiling),
    ("error on changed pixels, step 10", "half of copy-last's", "a fifth", _changes),
    ("counterfactual top-1 among the actions, step 4", "90%", "97%", _counterfactual(MAP, 0.9)),
    ("the same without map", "60%", "80%", _counterfactual(NO_MAP, 0.6)),
    ("delta-PSNR at step 4", "3 dB", "5 dB", _delta_psnr),
    ("NLL of own samples, against real frames", "within 10% after 300", "3,000 frames", _own_nats),
    ("idle 600 frames, PSNR to the tenth", "30 dB", "the ceiling", _idle),
    ("there and back, PSNR of the return, median / worst", "30 / 20 dB", "worst 28 dB", _there_and_back),
    ("imagine, one video", "8.75 frames/s (real time)", "17.5 frames/s", _imagine),
    ("speed against DIAMOND's sampler at the same size", "10 times", "20 times", _elsewhere),
    ("memory growth over 10,000 frames", "below 32 MiB", "", _elsewhere),
    ("collection, of the bare engine's speed", "60%", "80%", _elsewhere),
)
