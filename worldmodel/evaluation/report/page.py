"""The answers as one page that stands alone: plots, video strips, tables, settings, and whether to believe them.

No script, no network: all styles, drawings and pictures are in the file.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..harness.run import PARTS, Outcome
from .bars import Bar, bars
from .page_style import CSS
from .plots import plot
from .tables import ByStep, Figures, Table, figure, label, tables

MIN_STEPS = 3  # fewer make no curve
ROWS = """Four rows stand beside one another. <b>Reconstruction</b> is the real future through the tokenizer alone: no
model can be better. The <b>model</b> is told the recorded actions; the <b>model without actions</b> is the same one,
told none. <b>Copy the last frame</b> knows nothing. Shaded: 95% bootstrap intervals over clips."""


def render(outcome: Outcome, *, name: str) -> str:
    """Return the page, HTML.

    Args:
        outcome: numbers and pictures.
        name: what the world model is called.
    """
    metrics = outcome.metrics
    sections = [_part(part, result, outcome.pictures.get(part, {})) for part, result in metrics["parts"].items()]
    body = [
        f"<h1>Evaluation of {escape(name)}</h1>",
        f'<p class="soft">{escape(_subtitle(metrics))}</p>',
        _verdict(metrics),
        "<h2>Where the bar is</h2>",
        _bars(bars(metrics)),
        f"<h2>How to read it</h2><p>{ROWS}</p>" if "dynamics" in metrics["checkpoint"]["parameters"] else "",
        *sections,
        _strips(outcome.pictures.get("strips", {}), metrics),
        _provenance(metrics),
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    title = f"<title>Evaluation of {escape(name)}</title><style>{CSS}</style>"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}{title}</head>\n<body>\n'
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def question(part: str) -> str:
    """Return the question that a part asks: the beginning of its module's docstring."""
    source = (Path(__file__).parents[1] / "questions" / f"{PARTS[part]}.py").read_text()
    return (ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0].replace("\n", " ")


def _subtitle(metrics: Mapping[str, Any]) -> str:
    data, settings = metrics["data"], metrics["settings"]
    clips = f"{settings['clips']} clips, {settings['context']} context frames"
    if "temperature" in settings:  # a tokenizer alone has none
        clips += f", temperature {settings['temperature']:g}"
    quick = " A quick look: a tenth of the work, too noisy to compare." if settings["quick"] else ""
    return (
        f"{data['env']}, split {data['split']}: {data['episodes']} episodes; {clips}, seed {settings['seed']}.{quick}"
    )


def _verdict(metrics: Mapping[str, Any]) -> str:
    problems = [f"{row['part']}: it does not hold that {row['claim']}" for row in metrics["broken_claims"]]
    problems += [f"{part} could not be asked: {reason}" for part, reason in metrics["failures"].items()]
    problems += metrics["warnings"]
    claims = [row for result in metrics["parts"].values() for row in result.get("sanity", [])]
    if not problems:
        return f'<div class="verdict"><p>All {len(claims)} checks of the checker hold.</p></div>'
    listed = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    broken = sum(not row["holds"] for row in claims)
    head = f"{broken} of {len(claims)} checks of the checker do not hold." if broken else "These numbers need care."
    return f'<div class="verdict broken"><p><strong>{head}</strong></p><ul>{listed}</ul></div>'


def _bars(found: Iterable[Bar]) -> str:
    words = {True: ("met", "met"), False: ("missed", "not met"), None: ("soft", "not measured here")}
    rows = "".join(
        f"<tr><td>{escape(bar.name)}</td><td>{escape(bar.must)}</td><td>{escape(bar.aim)}</td>"
        f'<td>{escape(bar.measured)}</td><td class="{words[bar.met][0]}">{words[bar.met][1]}</td></tr>'
        for bar in found
    )
    header = "<tr><th>bar</th><th>must</th><th>aim</th><th>measured</th><th></th></tr>"
    return f'<div class="wide"><table class="text">{header}{rows}</table></div>'


def _part(part: str, result: Mapping[str, Any], pictures: Mapping[str, Any]) -> str:
    found = list(tables(result))
    curves = [table for table in found if isinstance(table, ByStep) and len(table.steps) >= MIN_STEPS]
    plots = "".join(_figure(table) for table in curves)
    others = "".join(_table(table) for table in found if table not in curves)
    return "\n".join(
        [
            f'<h2 id="{part}">{escape(label(part).capitalize())}</h2><p class="question">{escape(question(part))}</p>',
            f'<div class="plots">{plots}</div>' if plots else "",
            *(_picture(name, picture) for name, picture in pictures.items()),
            f'<div class="tables">{others}</div>',
            _claims(result.get("sanity", [])),
        ]
    )


def _figure(table: ByStep) -> str:
    numbers = _html_table(*table.cells())
    return (
        f"<figure><figcaption><b>{escape(table.title)}</b></figcaption>{plot(table)}"
        f"<details><summary>numbers</summary>{numbers}</details></figure>"
    )


def _table(table: Table) -> str:
    header, rows = table.cells()
    if isinstance(table, Figures) and not any(header):
        header = []
    return _block(table.title, _html_table(header, rows))


def _block(title: str, content: str) -> str:
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    return f"<section>{heading}{content}</section>"


def _html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in header) + "</tr>" if header else ""
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table>{head}{lines}</table></div>'


def _claims(sanity: Sequence[Mapping[str, Any]]) -> str:
    if not sanity:
        return ""
    items = "".join(_claim(row) for row in sanity)
    return f'<h3>Checks of the checker</h3><ul class="claims">{items}</ul>'


def _claim(row: Mapping[str, Any]) -> str:
    kind, words = ("met", "holds") if row["holds"] else ("missed", "does not hold")
    figures = escape(_figures(row.get("figures", {})))
    return f'<li><span class="{kind}">{words}</span> {escape(row["claim"])} <span class="soft">{figures}</span></li>'


def _figures(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{label(name)} {text}" for name, value in values.items() if (text := figure(value)) is not None)


def _picture(name: str, picture: Mapping[str, Any]) -> str:
    rest = _figures({key: value for key, value in picture.items() if key != "png"})
    caption = f"{label(name)}: {rest}" if rest else label(name)
    image = f'<img alt="{escape(caption, quote=True)}" src="data:image/png;base64,{picture["png"]}">'
    return f'<figure class="picture"><figcaption>{escape(caption)}</figcaption>{image}</figure>'


def _strips(pictures: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    strips = "".join(_strip(strip, pictures["steps"]) for strip in pictures.get("strips", []))
    drawn = f"The first moving clips that seed {metrics['settings']['seed']} draws, none chosen for its looks; "
    return f"<h2>Video strips</h2><p>{drawn} the action above each frame led to it.</p>{strips}" if strips else ""


def _strip(strip: Mapping[str, Any], steps: Sequence[int]) -> str:
    heads = zip(steps, strip["actions"], strict=True)
    cells = "".join(f"<span>{step}: {escape(action.replace('_', ' '))}</span>" for step, action in heads)
    episode, start = strip["place"]
    rows = "".join(
        f'<span>{escape(label(row))}</span><img alt="{escape(label(row), quote=True)}, clip from frame {start} of '
        f'episode {episode}" src="data:image/png;base64,{png}">'
        for row, png in strip["rows"].items()
    )
    place = f'<span class="soft">episode {episode}, frame {start}</span>'
    return f'<div class="strip">{place}<div class="steps">{cells}</div>{rows}</div>'


def _provenance(metrics: Mapping[str, Any]) -> str:
    groups = {name: metrics[name] for name in ("settings", "checkpoint", "data", "code", "hardware")}
    groups["seconds"] = {part: run["seconds"] for part, run in metrics["runs"].items()}
    blocks = "".join(
        _block(label(name), _html_table([], [[label(key), _value(value)] for key, value in group.items()]))
        for name, group in groups.items()
    )
    return f'<h2>Where the numbers come from</h2><div class="tables text">{blocks}</div>'


def _value(value: Any) -> str:
    return _figures(value) if isinstance(value, Mapping) else str(value)
