"""The answers as one page that stands alone: plots, video strips, tables, settings, and the claims that fail.

No script, no network: all styles and pictures are in the file.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..answers import Answer, Claim, Picture, Series
from ..harness.run import PICTURES, QUESTIONS, Evaluation
from .bars import Bar, bars
from .page_style import CSS
from .plots import plot
from .tables import Cells, cells, label, number, series_cells

MIN_STEPS = 3  # fewer make no curve
ROWS = """Rows stand beside one another. <b>Reconstruction</b> is the real future through the tokenizer alone: no
model can be better. The <b>model</b> is given the recorded actions; the <b>model without map</b> is the same
checkpoint with its learned map switched off, where it has one; the <b>model without actions</b> is given none.
<b>Copy the last frame</b> knows nothing. Shaded: 95% bootstrap intervals over clips."""


def render(evaluation: Evaluation, *, name: str) -> str:
    """Return the page, HTML.

    Args:
        evaluation: numbers and pictures.
        name: what the world model is called.
    """
    metrics = evaluation.metrics
    answers = {question: answer for question, answer in evaluation.answers.items() if question in QUESTIONS}
    shown = [answer for question, answer in evaluation.answers.items() if question in PICTURES]
    body = [
        f"<h1>Evaluation of {escape(name)}</h1>",
        f'<p class="soft">{escape(_subtitle(metrics))}</p>',
        _verdict(metrics, answers),
        "<h2>Where the bar is</h2>",
        _bars(bars(answers)),
        f"<h2>How to read it</h2><p>{ROWS}</p>" if "dynamics" in metrics["checkpoint"]["parameters"] else "",
        *(_section(question, answer) for question, answer in answers.items()),
        *(_strips(answer, metrics["settings"]["seed"]) for answer in shown),
        _provenance(metrics),
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    title = f"<title>Evaluation of {escape(name)}</title><style>{CSS}</style>"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}{title}</head>\n<body>\n'
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def docstring(question: str) -> str:
    """Return the question in words: the beginning of its module's docstring."""
    source = (Path(__file__).parents[1] / "questions" / f"{QUESTIONS[question]}.py").read_text()
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


def _verdict(metrics: Mapping[str, Any], answers: Mapping[str, Answer]) -> str:
    problems = [f"{row['question']}: it does not hold that {row['text']}" for row in metrics["broken_claims"]]
    problems += [f"{question} could not be asked: {reason}" for question, reason in metrics["failures"].items()]
    problems += metrics["warnings"]
    claims = [claim for answer in answers.values() for claim in answer.claims]
    if not problems:
        return f'<div class="verdict"><p>All {len(claims)} checks of the checker hold.</p></div>'
    listed = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    broken = sum(not claim.holds for claim in claims)
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


def _section(question: str, answer: Answer) -> str:
    curves = {name: series for name, series in answer.series.items() if len(series.steps) >= MIN_STEPS}
    short = {name: series for name, series in answer.series.items() if name not in curves}
    others = Answer(scalars=answer.scalars, skipped=answer.skipped, tables=answer.tables, series=short)
    plots = "".join(_figure(series) for series in curves.values())
    return "\n".join(
        [
            f'<h2 id="{question}">{escape(label(question).capitalize())}</h2>',
            f'<p class="question">{escape(docstring(question))}</p>',
            f'<div class="plots">{plots}</div>' if plots else "",
            *(_picture(name, picture) for name, picture in answer.pictures.items()),
            f'<div class="tables">{"".join(map(_table, cells(others)))}</div>',
            _claims(answer.claims),
        ]
    )


def _figure(series: Series) -> str:
    shown = series_cells(series)
    image = f'<img alt="{escape(series.title, quote=True)} by step" src="data:image/png;base64,{plot(series)}">'
    return (
        f"<figure><figcaption><b>{escape(series.title)}</b></figcaption>{image}"
        f"<details><summary>numbers</summary>{_html_table(shown.header, shown.rows)}</details></figure>"
    )


def _table(table: Cells) -> str:
    return _block(table.title, _html_table([] if table.bare else table.header, table.rows))


def _block(title: str, content: str) -> str:
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    return f"<section>{heading}{content}</section>"


def _html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in header) + "</tr>" if header else ""
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table>{head}{lines}</table></div>'


def _claims(claims: Sequence[Claim]) -> str:
    if not claims:
        return ""
    items = "".join(map(_claim, claims))
    return f'<h3>Checks of the checker</h3><ul class="claims">{items}</ul>'


def _claim(claim: Claim) -> str:
    kind, words = ("met", "holds") if claim.holds else ("missed", "does not hold")
    figures = ", ".join(f"{label(name)} {number(value)}" for name, value in claim.figures.items())
    return (
        f'<li><span class="{kind}">{words}</span> {escape(claim.text)} <span class="soft">{escape(figures)}</span></li>'
    )


def _picture(name: str, picture: Picture) -> str:
    caption = f"{label(name)}: {picture.caption}" if picture.caption else label(name)
    image = f'<img alt="{escape(caption, quote=True)}" src="data:image/png;base64,{picture.png}">'
    return f'<figure class="picture"><figcaption>{escape(caption)}</figcaption>{image}</figure>'


def _strips(answer: Answer, seed: int) -> str:
    drawn = f"The first moving clips that seed {seed} draws, none picked by hand; the action above each led to it."
    strips = "".join(_picture(name, picture) for name, picture in answer.pictures.items())
    return f"<h2>Video strips</h2><p>{drawn}</p>{strips}" if strips else ""


def _provenance(metrics: Mapping[str, Any]) -> str:
    groups = {name: metrics[name] for name in ("settings", "checkpoint", "data", "code", "hardware")}
    runs = metrics["runs"]
    groups["seconds (of a processor)"] = {
        question: f"{run['seconds']:.0f} ({run['cpu_seconds']:.0f})" for question, run in runs.items()
    }
    blocks = "".join(
        _block(label(name), _html_table([], [[label(key), _value(value)] for key, value in group.items()]))
        for name, group in groups.items()
    )
    return f'<h2>Where the numbers come from</h2><div class="tables text">{blocks}</div>'


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{label(name)} {number(part)}" for name, part in value.items())
    return str(value)
