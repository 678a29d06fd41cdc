"""Writes the numbers of a metrics.json into documents: `python -m worldmodel.evaluation.report.publish FILE.md ...`.

A file says where with `<!-- results:begin NAME -->` and `<!-- results:end -->`; what stands between is replaced. The
names are those of BLOCKS, the numbers those that ship with the package. `<!-- results:begin gallery -->` is a row for
each checkpoint that ships; what misses its bar is bold.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...checkpoints.gallery import DEFAULT
from ..answers import Answer, Claim
from .bars import bars
from .comparison import answers_of
from .tables import Cells, cells, label, markdown, number

PRETRAINED = Path(__file__).parents[2] / "pretrained"
SHIPPED = PRETRAINED / "metrics.json"
ROWS = ("reconstruction", "model", "without_map", "no_actions", "copy_last")
SHORT = (1, 2, 4, 6, 8, 10)  # the steps that a short table shows
LAST = 10  # the step of the gallery
MARKED = re.compile(r"(<!-- results:begin (\w+) -->\n).*?(<!-- results:end -->)", re.DOTALL)

Metrics = Mapping[str, Any]
Answers = Mapping[str, Answer]
Reading = Callable[
    [Answers, str], tuple[str, bool]
]  # of the answers and a row of theirs: the text, and whether the bar is met


def fidelity(metrics: Metrics) -> str:
    """Return PSNR by imagined step, a line for each of ROWS that there is."""
    series = answers_of(metrics)["fidelity"].series["10/psnr"]
    lines = []
    for row in ROWS:
        if row in series.rows:
            found = [label(row), *(f"{series.rows[row].mean[step - 1]:.1f}" for step in SHORT)]
            lines.append([f"**{cell}**" for cell in found] if row == "model" else found)
    return markdown(["PSNR in dB, step", *map(str, SHORT)], lines)


def summary(metrics: Metrics) -> str:
    """Return the figures that say most, one line a question."""
    answers, lines = answers_of(metrics), []
    for name, line in SUMMARY.items():
        try:
            lines.append([name, line(answers)])
        except KeyError:  # that question was not asked
            continue
    return markdown(["", ""], lines)


def _tokenizer(answers: Answers) -> str:
    found = answers["tokenizer"].scalars
    psnr, moving = found["psnr"].number, found["psnr_moving"].number
    return f"{psnr:.1f} dB, {moving:.1f} dB on moving clips, {found['codes_used'].value} codes in use"


def _likelihood(answers: Answers) -> str:
    table = answers["likelihood"].tables["fully_teacher_forced"]
    nats = {name: table["model", name].number for name in table.columns}
    others = ", ".join(f"{nats[name]:.2f} with {name} actions" for name in ("shuffled", "random") if name in nats)
    return f"{nats['right']:.2f} nats a code; {others}, {nats['none']:.2f} without actions"


def _bits(answers: Answers) -> str:
    table = answers["likelihood"].tables["bits_per_frame"]
    bits, uniform = table["model", "right"].number, table["model", "uniform"].number
    return f"{number(round(bits))} (uniform prior: {number(round(uniform))})"


def _control(answers: Answers) -> str:
    found = answers["control"]
    delta = found.series["delta_psnr"].rows["model"].mean[-1]
    table, chance = found.tables["counterfactuals"], found.scalars["chance"].number
    top1 = f"{table['model', 'top1'].number:.0%}"
    if "without_map" in table.rows:
        top1 += f", {table['without_map', 'top1'].number:.0%} without map"
    return f"the right action's future is the nearest in {top1} (chance: {chance:.0%}); delta-PSNR {delta:.1f} dB"


def _changes(answers: Answers) -> str:
    found = answers["changes"]
    ratio = found.series["error_ratio"].rows["model"].mean[-1]
    kept = found.series["codes_kept"].rows["model"].mean[-1]
    return f"{ratio:.0%} of copy-last's error at step {LAST}; {kept:.0%} of the changed codes are right"


def _speed(answers: Answers) -> str:
    table = answers["speed"].tables["frames_per_second"]
    real_time = answers["speed"].scalars["real_time"].number
    together = f", {number(table['batch_4', 'median'].number)} for four together" if "batch_4" in table.rows else ""
    one = number(table["batch_1", "median"].number)
    return f"{one} frames/s for one video (real time is {number(real_time)}){together}"


SUMMARY: dict[str, Callable[[Answers], str]] = {
    "tokenizer": _tokenizer,
    "dynamics": _likelihood,
    "bits a frame": _bits,
    "control": _control,
    "changed pixels": _changes,
    "speed": _speed,
}


def table_of_bars(metrics: Metrics) -> str:
    """Return the bars, and which are met."""
    words = {True: "yes", False: "**no**", None: ""}
    lines = [[bar.name, bar.must, bar.aim, bar.measured, words[bar.met]] for bar in bars(answers_of(metrics))]
    return markdown(["bar", "must", "aim", "measured", "met"], lines)


def provenance(metrics: Metrics) -> str:
    """Return where the numbers come from, in a sentence for each."""
    settings, data, machine = metrics["settings"], metrics["data"], metrics["hardware"]
    options = f"--clips {settings['clips']} --seed {settings['seed']}"
    options += f" --set context={settings['context']} --set temperature={settings['temperature']:g}"
    checkpoint = metrics["checkpoint"]["fingerprint"][:12]
    commit = metrics["code"].get("commit", "an unknown commit")
    lines = [
        f"Checkpoint {checkpoint}, measured by `worldmodel evaluate {options}` at {commit}.",
        f"Data set {data['fingerprint'][:12]}: {number(data['episodes'])} episodes, {number(data['frames'])} frames of "
        f"{data['env']}, split {data['split']}.",
        f"{machine['cores']} cores of {machine['processor']}, torch {machine['torch']}, threads: {machine['threads']}.",
    ]
    broken = [f"{row['question']}: it does not hold that {row['text']}" for row in metrics["broken_claims"]]
    return "\n".join([*lines, *broken]) + "\n"


def everything(metrics: Metrics) -> str:
    """Return all tables of all answers."""
    text = []
    for question, answer in answers_of(metrics).items():
        seconds = metrics["runs"].get(question, {}).get("seconds")
        text.append(f"### {label(question).capitalize()}" + (f" ({seconds:.0f} s)" if seconds else ""))
        for table in cells(answer):
            heading = f"{table.title}:\n\n" if table.title else ""
            text.append(heading + (_sentence(table) if table.bare else markdown(table.header, table.rows)).rstrip())
        if answer.claims:
            text.append("\n".join(map(_claim, answer.claims)))
    return "\n\n".join(text) + "\n"


def _sentence(table: Cells) -> str:
    return "; ".join(": ".join(row) for row in table.rows) + "."


def _claim(claim: Claim) -> str:
    figures = ", ".join(f"{label(name)} {number(value)}" for name, value in claim.figures.items())
    return f"* {'holds' if claim.holds else '**does not hold**'}: {claim.text} ({figures})"


def gallery(all_metrics: Mapping[str, Metrics]) -> str:
    """Return a row for each game: {name of its checkpoint: content of its metrics.json}, and each without its map."""
    rows = []
    for name, metrics in all_metrics.items():
        rows.append(_game(name, metrics, "model"))
        if metrics["checkpoint"]["map"]:
            rows.append(_game(f"{name} without map", metrics, "without_map"))
    return markdown(["game", *GALLERY, "size, MB"], rows)


def _game(name: str, metrics: Metrics, row: str) -> list[str]:
    answers, found = answers_of(metrics), [f"{name} (`{metrics['data']['env']}`)"]
    for read in GALLERY.values():
        try:
            text, met = read(answers, row)
        except (KeyError, IndexError):  # a question that was not asked, or was skipped
            text, met = "–", True
        found.append(text if met else f"**{text}**")
    return [*found, f"{metrics['checkpoint']['bytes'] / 1e6:.1f}"]


def _psnr_at_last(row: str) -> Reading:
    def read(answers: Answers, model: str) -> tuple[str, bool]:
        return f"{answers['fidelity'].series[f'{LAST}/psnr'].rows[row or model].mean[LAST - 1]:.1f}", True

    return read


def _changed_pixels(answers: Answers, model: str) -> tuple[str, bool]:
    ratio = answers["changes"].series["error_ratio"].rows[model].mean[LAST - 1]
    return f"{ratio:.0%}", ratio <= BAR_CHANGED


def _top1(answers: Answers, model: str) -> tuple[str, bool]:
    top1 = answers["control"].tables["counterfactuals"][model, "top1"].number
    return f"{top1:.0%} (chance {answers['control'].scalars['chance'].number:.0%})", top1 >= BAR_TOP1


def _objects(answers: Answers, model: str) -> tuple[str, bool]:
    found = answers["objects"].scalars["found"].number
    return f"{found:.1%}", found >= BAR_OBJECTS


def _frame_rate(answers: Answers, model: str) -> tuple[str, bool]:
    if model != "model":  # only the whole checkpoint's speed is measured
        raise KeyError(model)
    speed = answers["speed"]
    rate, real_time = speed.tables["frames_per_second"]["batch_1", "median"].number, speed.scalars["real_time"].number
    return f"{number(rate)} ({number(real_time)})", rate >= real_time


BAR_CHANGED, BAR_TOP1, BAR_OBJECTS = 0.5, 0.9, 0.99
GALLERY: dict[str, Reading] = {
    "ceiling, dB": _psnr_at_last("reconstruction"),
    f"model at step {LAST}, dB": _psnr_at_last(""),
    "copy-last, dB": _psnr_at_last("copy_last"),
    f"error on changed pixels, of copy-last's (at most {BAR_CHANGED:.0%})": _changed_pixels,
    f"top-1 (at least {BAR_TOP1:.0%})": _top1,
    f"small objects kept (at least {BAR_OBJECTS:.0%})": _objects,
    "frames/s (real time)": _frame_rate,
}

BLOCKS: dict[str, Callable[[Metrics], str]] = {
    "fidelity": fidelity,
    "summary": summary,
    "bars": table_of_bars,
    "provenance": provenance,
    "everything": everything,
}
EVERY_BLOCK = (*BLOCKS, "gallery")


def publish(text: str, metrics: Metrics, games: Mapping[str, Metrics]) -> str:
    """Return a document with numbers between its markers: of `metrics`, and of each of `games` in the gallery.

    Raises:
        ValueError: if a marker names no block.
    """

    def block(found: re.Match[str]) -> str:
        if found[2] not in EVERY_BLOCK:
            raise ValueError(f"no block of results named {found[2]!r}; blocks: {', '.join(EVERY_BLOCK)}")
        content = gallery({DEFAULT: metrics, **games}) if found[2] == "gallery" else BLOCKS[found[2]](metrics)
        return f"{found[1]}\n{content}\n{found[3]}"

    return MARKED.sub(block, text)


def read_games(directory: Path = PRETRAINED) -> dict[str, Metrics]:
    """Return the metrics of every checkpoint below a directory that has a metrics.json of its own, by its name."""
    return {file.parent.name: json.loads(file.read_text()) for file in sorted(directory.glob("*/metrics.json"))}


def main(files: Sequence[str]) -> None:
    """Write the shipped numbers into `files`."""
    metrics, games = json.loads(SHIPPED.read_text()), read_games()
    for file in map(Path, files):
        file.write_text(publish(file.read_text(), metrics, games))


if __name__ == "__main__":
    main(sys.argv[1:])
