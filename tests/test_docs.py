"""The documentation is true: every command parses, every path and every symbol it names exists."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from worldmodel.checkpoints.gallery import names
from worldmodel.commands import COMMANDS

ROOT = Path(__file__).parent.parent
DOCS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
TOP = {"worldmodel", "envs", "rollouts", "recipes", "tests", "docs", ".ci"}
ROOT_FILES = {".md", ".toml", ".txt"}

each_doc = pytest.mark.parametrize("doc", DOCS, ids=[str(doc.relative_to(ROOT)) for doc in DOCS])


def blocks(text: str, *languages: str) -> Iterator[str]:
    """Yield the fenced blocks of a language."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language in languages:
            yield block


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of every shell command of ours: in blocks, joined by && or |, and in the running text."""
    lines = [line for block in blocks(text, "", "sh", "bash", "console") for line in joined(block)]
    for line in [*lines, *inline(text)]:
        if any(re.search(rf"(^|[\s/]){program}($|\s)", line) for program in ("make", "worldmodel", *COMMANDS)):
            yield from split(line.removeprefix("$ "))


def split(line: str) -> Iterator[list[str]]:
    """Yield the words of each command in a shell line."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if re.fullmatch(r"[&|;<>]+", word):
            yield words
            words = []
        else:
            words.append(word)
    yield words


def joined(block: str) -> list[str]:
    """Return the lines of a block, those that end in a backslash with the next."""
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def inline(text: str) -> list[str]:
    """Return what stands between backquotes outside of blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def complaint(name: str, words: list[str]) -> str:
    """Return what a command of ours says to `words`; nothing if it takes them."""
    module = importlib.import_module(f"worldmodel.commands.{COMMANDS[name][0]}")
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        module.parser(name).parse_args(words)
    return errors.getvalue()


@each_doc
def test_every_command_parses(doc: Path) -> None:
    """A command in the documentation is one that this version understands."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in commands(doc.read_text()):
        if words[:3] and words[0].startswith(("python", "torchrun")) and "worldmodel" in words:
            words = words[words.index("worldmodel") :]
        program = Path(words[0]).name if words else ""
        if program == "worldmodel" and len(words) > 1 and not words[1].startswith("-"):
            assert words[1] in COMMANDS, shlex.join(words)
            assert not complaint(words[1], words[2:])
        elif program in COMMANDS and len(words) > 1:
            assert not complaint(program, words[1:])
        elif program == "make" and words != ["make"]:
            assert set(words[1:]) <= targets, shlex.join(words)


@each_doc
def test_every_path_exists(doc: Path) -> None:
    """A path in the documentation leads to a file: from the root, or from the package."""
    text = doc.read_text()
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    for link in links:
        assert (doc.parent / link).exists(), f"{doc.name} links to {link}"
    for name in inline(text):
        looks_like_path = re.fullmatch(r"[\w./-]+\.(py|md|toml|txt|png|webp|svg|sh|json)|[\w./-]+/", name)
        first = name.split("/")[0]
        if not looks_like_path or ("/" not in name and Path(name).suffix not in ROOT_FILES):
            continue
        if name.endswith(".py") or first in TOP or "/" not in name:
            homes = [ROOT, ROOT / "worldmodel"]
            assert any((home / name).exists() for home in homes), f"{doc.name} names {name}"


@each_doc
def test_every_section_linked_to_exists(doc: Path) -> None:
    """A link to a section, `FILE.md#section`, leads to a heading of that file."""
    for file, section in re.findall(r"\]\(([\w./-]*\.md)?#([^)\s]+)\)", doc.read_text()):
        target = doc.parent / file if file else doc
        assert section in anchors(target.read_text()), f"{doc.name} links to {target.name}#{section}"


def anchors(text: str) -> set[str]:
    """Return the names under which a page's headings can be linked to, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_log_is_dated_and_each_section_has_a_verdict() -> None:
    """The log's days are newest first; the title of each section in them names a technique and ends in its verdict."""
    text = (ROOT / "docs" / "log.md").read_text()
    days = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert days == sorted(days, reverse=True)
    assert all(re.fullmatch(r"\d{4}-\d{2}-\d{2}", day) for day in days), days
    titles = re.findall(r"^### (.*)$", text, re.MULTILINE)
    assert len(titles) == len(set(titles))
    for title in titles:
        assert re.search(r": ([\w ]+ )?(kept|negative|measured)\b", title), title


def test_decisions_are_few_and_lead_to_the_log() -> None:
    """At most twenty standing choices of three lines each: the choice, why, and the section of the log."""
    text = (ROOT / "docs" / "decisions.md").read_text()
    decisions = re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |\Z)", text, re.MULTILINE | re.DOTALL)
    assert [int(number) for number, _ in decisions] == list(range(1, len(decisions) + 1))
    assert 10 <= len(decisions) <= 20
    for number, decision in decisions:
        lines = decision.strip().splitlines()
        assert len(lines) == 3, f"decision {number}"
        assert "(log.md#" in lines[2], f"decision {number}"


def test_results_fit_on_a_few_screens() -> None:
    """docs/results.md holds the current checkpoints and one row for each earlier one; metrics.json has all tables."""
    text = (ROOT / "docs" / "results.md").read_text()
    assert len(text.splitlines()) <= 150
    assert "<!-- results:begin everything -->" not in text


@each_doc
def test_every_symbol_exists(doc: Path) -> None:
    """`worldmodel.X.y` is a module, or something in one, and Python blocks import only what is there."""
    text = doc.read_text()
    dotted = {name for code in inline(text) for name in re.findall(r"\bworldmodel(?:\.\w+)+", code)}
    for block in blocks(text, "python", "py"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("worldmodel"):
                dotted |= {f"{node.module}.{alias.name}" for alias in node.names}
    for name in sorted(dotted):
        resolve(name)


def resolve(name: str) -> object:
    """Return what a dotted name stands for."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        with contextlib.suppress(ModuleNotFoundError):
            module = importlib.import_module(".".join(parts[:length]))
            return functools.reduce(getattr, parts[length:], module)
    raise AssertionError(f"there is no {name}")


def test_where_do_i_change_x() -> None:
    """Each row of the table answers with files that exist, and every package of the layout is in it."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = re.search(r"^#+ .*[Ww]here do I change.*?\n(.*?)(?=^#|\Z)", text, re.M | re.S)
    assert section, "docs/architecture.md has no table 'Where do I change X?'"
    rows = [line for line in section[1].splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 10
    named = ""
    for row in rows:
        answers = re.findall(r"`([\w./-]+)`", row.split("|", 2)[2])
        paths = [answer for answer in answers if "/" in answer]
        assert paths, f"no file in: {row}"
        for path in paths:
            assert (ROOT / path).exists(), f"{path} in: {row}"
        code = "".join((ROOT / path).read_text() for path in paths if (ROOT / path).is_file())
        for symbol in set(answers) - set(paths):
            assert symbol.split(".")[-1] in code, f"{symbol} is in no file of: {row}"
        named += " ".join(paths) + "\n"
    packages = [path.parent.relative_to(ROOT) for path in (ROOT / "worldmodel").glob("*/__init__.py")]
    for folder in ["envs", "rollouts", *sorted(map(str, packages))]:
        if folder != "worldmodel/pretrained":
            assert f"{folder}/" in named, f"nothing in the table lies in {folder}/"
            assert folder in text.split("## Alignment")[0] or f"  {Path(folder).name}/" in text, f"{folder} has no line"


def test_readme_is_read_in_five_minutes() -> None:
    """At most 1,400 words with its tables and code: what is longer has a page in docs/."""
    assert len((ROOT / "README.md").read_text().split()) <= 1400


def test_everything_that_ships_has_a_recipe() -> None:
    """`make pretrained` makes every checkpoint of the gallery."""
    recipe = (ROOT / "Makefile").read_text().split("\npretrained:")[1].split("\n\n")[0]
    for name in names():
        assert re.search(rf"recipes/({name}\.sh|game\.sh {name}) ?", recipe), f"no recipe makes {name}"


def test_readme_shows_the_two_commands_first() -> None:
    """`make demo` and `make test` stand in the README, and pictures in it exist."""
    text = (ROOT / "README.md").read_text()
    assert {("make", "demo"), ("make", "test")} <= {tuple(words) for words in commands(text)}
    for picture in re.findall(r"<img [^>]*src=\"([^\"]+)\"", text):
        assert "://" in picture or (ROOT / picture).exists(), picture


@pytest.mark.slow
def test_readme_python_runs() -> None:
    """The Python of the README does what it says with what ships with the package."""
    for block in blocks((ROOT / "README.md").read_text(), "python"):
        done = subprocess.run([sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stderr
