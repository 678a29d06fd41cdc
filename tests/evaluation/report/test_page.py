"""The page stands alone, says what the numbers say, and hides nothing that speaks against them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from worldmodel.evaluation.answers import Answer, Claim, Curve, Picture, Scalar, Series, Table
from worldmodel.evaluation.harness.run import QUESTIONS, Evaluation
from worldmodel.evaluation.report import bars
from worldmodel.evaluation.report.page import docstring, render

VOID = {"meta", "img", "br"}
PNG = "iVBORw0KGgo="


class Page(HTMLParser):
    """The elements of a page: every tag that is opened is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += f" {data} "


def evaluation(**changes: Any) -> Evaluation:
    """The answers of two questions, with a picture and a video strip."""
    curve = Curve((20.0, 19.0, 18.0), (19.0, 18.0, 17.0), (21.0, 20.0, 19.0))
    metrics = {
        "checkpoint": {"fingerprint": "f" * 64, "parameters": {"tokenizer": 1, "dynamics": 2}},
        "data": {"fingerprint": "d" * 64, "split": "test", "env": "toy<&>", "episodes": 3, "frames": 303},
        "settings": {"clips": 4, "context": 6, "seed": 3, "quick": False, "temperature": 1.0},
        "code": {"version": "0.1.0", "commit": "abc123"},
        "hardware": {"processor": "Abacus"},
        "warnings": [],
        "sane": True,
        "broken_claims": [],
        "failures": {},
        "runs": {"fidelity": {"seconds": 1.5, "cpu_seconds": 2.5}},
    }
    claim = Claim(text="x <= y", holds=True, figures={"x": 1.0})
    answers = {
        "tokenizer": Answer(scalars={"psnr_moving": Scalar(30.25)}, claims=(claim,)),
        "fidelity": Answer(
            series={"10/psnr": Series("PSNR, dB", (1, 2, 3), {"model": curve, "copy_last": Curve((10.0, 9.0, 8.0))})},
            tables={"t": Table("a table", ("top1",), {"without_map": (Scalar(0.125),)})},
            pictures={"grid": Picture(png=PNG, caption="frame 52")},
        ),
        "strips": Answer(pictures={"episode 1, frame 20": Picture(png=PNG)}),
    }
    return Evaluation(metrics=metrics | changes, answers=answers)


def test_the_page_stands_alone() -> None:
    """Nothing is loaded from anywhere, no script is needed, every tag is closed, and every picture is described."""
    text = render(evaluation(), name="a model")
    page = Page(text)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.seen}
    assert not re.search(r"https?://|@import|url\(", text)
    images = [attributes for tag, attributes in page.seen if tag == "img"]
    assert len(images) == 3
    for attributes in images:
        assert str(attributes["src"]).startswith("data:image/png;base64,")
        assert attributes["alt"]


def test_the_page_says_what_was_measured() -> None:
    """Questions, numbers, claims, bars, settings and machine are on it, with what is special to HTML escaped."""
    page = Page(render(evaluation(), name="<b>"))
    assert "Evaluation of <b>" in page.text
    assert "toy<&>" in page.text
    said = (
        "20.0",
        "30.2",
        "x <= y",
        "abc123",
        "Abacus",
        "frame 52",
        "model without map",
        "0.125",
        "episode 1, frame 20",
    )
    for words in (*said, docstring("fidelity")):
        assert words in page.text
    for bar in bars.bars(evaluation().answers):
        assert bar.name in page.text
    assert "All 1 checks of the checker hold." in page.text


def test_what_speaks_against_the_numbers_is_red() -> None:
    """A claim that does not hold, a question that failed and a wrong split stand at the top, in red."""
    row = {"question": "tokenizer", "text": "x <= y", "figures": {"x": 2.0}}
    changes = {"sane": False, "broken_claims": [row], "failures": {"control": "no engine"}, "warnings": ["split train"]}
    bad = evaluation(**changes)
    bad.answers["tokenizer"] = Answer(claims=(Claim(text="x <= y", holds=False, figures={"x": 2.0}),))
    text = render(bad, name="a model")
    head, _, rest = text.partition("<h2>")
    assert '<div class="verdict broken">' in head
    assert "1 of 1 checks of the checker do not hold." in head
    for said in ("tokenizer: it does not hold that x &lt;= y", "control could not be asked: no engine", "split train"):
        assert said in head
    assert '<span class="missed">does not hold</span> x &lt;= y' in rest
    assert 'class="verdict broken"' not in render(evaluation(), name="a model")


def test_a_quick_look_is_called_one() -> None:
    """Numbers from a tenth of the work are not mistaken for the others."""
    settings = evaluation().metrics["settings"] | {"quick": True}
    assert "too noisy to compare" in render(evaluation(settings=settings), name="a model")
    assert "too noisy to compare" not in render(evaluation(), name="a model")


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_is_one(name: str) -> None:
    """The docstring of a question's module asks it, and the page repeats it."""
    assert "?" in docstring(name)
