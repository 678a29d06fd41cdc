"""Which code answers: every module of the package counts, but for those that only show answers."""

from __future__ import annotations

from pathlib import Path

from worldmodel.evaluation.harness.source import PACKAGES, SHOWS, hash_of_modules, source


def test_every_module_counts(tmp_path: Path) -> None:
    """Another content, another name or one module more is another hash; what only shows answers is not looked at."""
    (tmp_path / "a" / "report").mkdir(parents=True)
    (tmp_path / "a" / "x.py").write_text("x = 1")
    (tmp_path / "a" / "report" / "y.py").write_text("y = 1")

    def now() -> str:
        return hash_of_modules(tmp_path / "a", apart_from=tmp_path / "a" / "report")

    found = [now()]
    (tmp_path / "a" / "report" / "y.py").write_text("y = 2")
    assert now() == found[0]
    (tmp_path / "a" / "x.py").write_text("x = 2")
    found.append(now())
    (tmp_path / "a" / "x.py").rename(tmp_path / "a" / "z.py")
    found.append(now())
    (tmp_path / "a" / "x.py").write_text("")
    found.append(now())
    assert len(set(found)) == len(found)


def test_the_package_is_looked_at() -> None:
    """The model, the simulator, games and recordings decide what is answered, wherever they lie."""
    files = {file.name for package in PACKAGES for file in package.rglob("*.py") if SHOWS not in file.parents}
    assert {"model.py", "simulator.py", "storage.py", "game.py", "fidelity.py"} <= files
    assert "plots.py" not in files
    assert len(source()) == 64
