"""Writes the numbers of a metrics.json into documents: `python -m worldmodel.evaluation.report.publish FILE.md ...`.

A file says where with `<!-- results:begin NAME -->` and `<!-- results:end -->`; what stands between is replaced. The
names are those of BLOCKS, the numbers those that ship with the package.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .bars import HORIZON, bars, mean
from .tables import Figures, figure, label, markdown, number, tables

SHIPPED = Path(__file__).parents[2] / "pretrained" / "metrics.json"
ROWS = ("reconstruction", "model", "no_actions", "copy_last")
SHORT = (1, 2, 4, 6, 8, 10)  # the steps that a short table shows
MARKED = re.compile(r"(<!-- results:begin (\w+) -->\n).*?(<!-- results:end -->)", re.DOTALL)

Metrics = Mapping[str, Any]


def fidelity(metrics: Metrics) -> str:
    """Return PSNR by imagined step, the four rows."""
    rows = metrics["parts"]["fidelity"]["horizons"][HORIZON]["psnr"]
    lines = []
    for row in ROWS:
        cells = [label(row), *(f"{mean(rows[row])[step - 1]:.1f}" for step in SHORT)]
        lines.append([f"**{cell}**" for cell in cells] if row == "model" else cells)
    return markdown(["PSNR in dB, step", *map(str, SHORT)], lines)


def summary(metrics: Metrics) -> str:
    """Return the figures that say most, one line a part."""
    lines = []
    for part, line in SUMMARY.items():
        try:
            lines.append([part, line(metrics["parts"])])
        except KeyError:  # that part was not asked
            continue
    return markdown(["", ""], lines)


def _tokenizer(parts: Metrics) -> str:
    found = parts["tokenizer"]
    psnr, moving = mean(found["psnr"]), mean(found["psnr_moving"])
    return f"{psnr:.1f} dB, {moving:.1f} dB on moving clips, {found['codes_used']} codes in use"


def _likelihood(parts: Metrics) -> str:
    nats = {name: mean(value) for name, value in parts["likelihood"]["fully_teacher_forced"].items()}
    others = ", ".join(f"{nats[name]:.2f} with {name} actions" for name in ("shuffled", "random") if name in nats)
    return f"{nats['right']:.2f} nats a code; {others}, {nats['none']:.2f} without actions"


def _bits(parts: Metrics) -> str:
    bits = parts["likelihood"]["bits_per_frame"]
    return f"{number(round(mean(bits['right'])))} (uniform prior: {number(round(mean(bits['uniform'])))})"


def _control(parts: Metrics) -> str:
    found = parts["control"]
    delta = mean(found["delta_psnr"]["model"])[-1]
    chosen, chance = mean(found["counterfactual"]["rows"]["model"]["top1"]), found["counterfactual"]["chance"]
    return f"the right action's future is the nearest in {chosen:.0%} (chance: {chance:.0%}); delta-PSNR {delta:.1f} dB"


def _speed(parts: Metrics) -> str:
    found = parts["speed"]["frames_per_second"]
    together = f", {number(found['batch_4']['median'])} for four together" if "batch_4" in found else ""
    return f"{number(found['batch_1']['median'])} frames/s for one video (real time is 8.75){together}"


SUMMARY: dict[str, Callable[[Metrics], str]] = {
    "tokenizer": _tokenizer,
    "dynamics": _likelihood,
    "bits a frame": _bits,
    "control": _control,
    "speed": _speed,
}


def table_of_bars(metrics: Metrics) -> str:
    """Return the bars, and which are met."""
    words = {True: "yes", False: "**no**", None: ""}
    lines = [[bar.name, bar.must, bar.aim, bar.measured, words[bar.met]] for bar in bars(metrics)]
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
    broken = [f"{row['part']}: it does not hold that {row['claim']}" for row in metrics["broken_claims"]]
    return "\n".join([*lines, *broken]) + "\n"


def everything(metrics: Metrics) -> str:
    """Return all tables of all parts."""
    text = []
    for part, result in metrics["parts"].items():
        seconds = metrics["runs"].get(part, {}).get("seconds")
        text.append(f"### {label(part).capitalize()}" + (f" ({seconds:.0f} s)" if seconds else ""))
        for table in tables(result):
            header, rows = table.cells()
            heading = f"{table.title}:\n\n" if table.title else ""
            text.append(heading + (_sentence(rows) if _bare(table) else markdown(header, rows)).rstrip())
        text.extend(_claims(result))
    return "\n\n".join(text) + "\n"


def _bare(table: object) -> bool:
    return isinstance(table, Figures) and not any(table.columns)


def _sentence(rows: Sequence[Sequence[str]]) -> str:
    return "; ".join(": ".join(row) for row in rows) + "."


def _claims(result: Metrics) -> list[str]:
    lines = []
    for row in result.get("sanity", []):
        figures = ", ".join(f"{label(name)} {figure(value)}" for name, value in row.get("figures", {}).items())
        lines.append(f"* {'holds' if row['holds'] else '**does not hold**'}: {row['claim']} ({figures})")
    return ["\n".join(lines)] if lines else []


BLOCKS: dict[str, Callable[[Metrics], str]] = {
    "fidelity": fidelity,
    "summary": summary,
    "bars": table_of_bars,
    "provenance": provenance,
    "everything": everything,
}


def publish(text: str, metrics: Metrics) -> str:
    """Return a document with the numbers of `metrics` between its markers.

    Raises:
        ValueError: if a marker names no block.
    """

    def block(found: re.Match[str]) -> str:
        if found[2] not in BLOCKS:
            raise ValueError(f"no block of results named {found[2]!r}; blocks: {', '.join(BLOCKS)}")
        return f"{found[1]}\n{BLOCKS[found[2]](metrics)}\n{found[3]}"

    return MARKED.sub(block, text)


def main(files: Sequence[str]) -> None:
    """Write the shipped numbers into `files`."""
    metrics = json.loads(SHIPPED.read_text())
    for file in map(Path, files):
        file.write_text(publish(file.read_text(), metrics))


if __name__ == "__main__":
    main(sys.argv[1:])
