"""The page stands alone, says what the numbers say, and hides nothing that speaks against them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from worldmodel.evaluation.harness.run import PARTS, Outcome
from worldmodel.evaluation.report import bars
from worldmodel.evaluation.report.page import question, render

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


def outcome(**changes: Any) -> Outcome:
    """Numbers of two parts, with a picture and a video strip."""
    curve = {"mean": [20.0, 19.0, 18.0], "low": [19.0, 18.0, 17.0], "high": [21.0, 20.0, 19.0]}
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
        "runs": {"fidelity": {"seconds": 1.5}},
        "parts": {
            "tokenizer": {"psnr_moving": 30.25, "sanity": [{"claim": "x <= y", "holds": True, "figures": {"x": 1.0}}]},
            "fidelity": {"psnr": {"model": curve, "copy_last": [10.0, 9.0, 8.0]}},
        },
    }
    strip = {"place": [1, 20], "actions": ["left", "forward+right"], "rows": {"real": PNG, "model": PNG}}
    pictures = {"strips": {"strips": [strip], "steps": [1, 2]}, "fidelity": {"grid": {"png": PNG, "frame": 52}}}
    return Outcome(metrics=metrics | changes, pictures=pictures)


def test_the_page_stands_alone() -> None:
    """Nothing is loaded from anywhere, no script is needed, every tag is closed, and every picture is described."""
    text = render(outcome(), name="a model")
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
    page = Page(render(outcome(), name="<b>"))
    assert "Evaluation of <b>" in page.text
    assert "toy<&>" in page.text
    for said in ("20.0", "30.2", "x <= y", "abc123", "Abacus", "forward+right", "frame 52", question("fidelity")):
        assert said in page.text
    for bar in bars.bars(outcome().metrics):
        assert bar.name in page.text
    assert sum(tag == "svg" for tag, _ in page.seen) == 1
    assert "All 1 checks of the checker hold." in page.text


def test_what_speaks_against_the_numbers_is_red() -> None:
    """A claim that does not hold, a part that failed and a wrong split stand at the top, in red."""
    row = {"part": "tokenizer", "claim": "x <= y", "holds": False, "figures": {"x": 2.0}}
    changes = {"sane": False, "broken_claims": [row], "failures": {"control": "no engine"}, "warnings": ["split train"]}
    good = outcome()
    good.metrics["parts"]["tokenizer"]["sanity"] = [row]
    text = render(Outcome(metrics=good.metrics | changes, pictures={}), name="a model")
    head, _, rest = text.partition("<h2>")
    assert '<div class="verdict broken">' in head
    assert "1 of 1 checks of the checker do not hold." in head
    for said in ("tokenizer: it does not hold that x &lt;= y", "control could not be asked: no engine", "split train"):
        assert said in head
    assert '<span class="missed">does not hold</span> x &lt;= y' in rest
    assert 'class="verdict broken"' not in render(outcome(), name="a model")


def test_a_quick_look_is_called_one() -> None:
    """Numbers from a tenth of the work are not mistaken for the others."""
    settings = outcome().metrics["settings"] | {"quick": True}
    assert "too noisy to compare" in render(outcome(settings=settings), name="a model")
    assert "too noisy to compare" not in render(outcome(), name="a model")


@pytest.mark.parametrize("part", PARTS)
def test_every_part_asks_a_question(part: str) -> None:
    """The docstring of a part begins with the question that the page repeats."""
    assert question(part).endswith("?")
