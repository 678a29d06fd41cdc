"""What is installed: only `worldmodel`, complete, from a wheel and in place, inside and outside of the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
USE = """
import importlib, pathlib, worldmodel, worldmodel.envs, worldmodel.rollouts
for generic in ("envs", "rollouts", "tests"):
    try:
        importlib.import_module(generic)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{generic} can be imported")
game = worldmodel.make_env("toy", frame_size=32)
game.reset(0)
print(pathlib.Path(worldmodel.__file__).parent, worldmodel.EpisodeDataset.__module__)
"""


def project() -> dict[str, object]:
    with open(ROOT / "pyproject.toml", "rb") as file:
        content: dict[str, object] = tomllib.load(file)
    return content


def run(command: list[str], *, cwd: Path, path: Path | None = None) -> str:
    environment = {**os.environ, "PYTHONPATH": str(path)} if path else dict(os.environ)
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy of the source so that the checkout stays clean."""
    source = tmp_path_factory.mktemp("source")
    for name in ("worldmodel", "envs", "rollouts", "tests", "docs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    out = tmp_path_factory.mktemp("wheel")
    run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(out),
            str(source),
        ],
        cwd=out,
    )
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.slow
def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Every module and every shipped file is in it, below worldmodel/, and nothing generic beside it."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"worldmodel"}
    expected = set()
    for folder, inside in (
        ("worldmodel", "worldmodel"),
        ("envs", "worldmodel/envs"),
        ("rollouts", "worldmodel/rollouts"),
    ):
        for file in (ROOT / folder).rglob("*"):
            shipped = file.suffix == ".py" or file.name == "py.typed" or "pretrained" in file.parts
            if file.is_file() and shipped and "__pycache__" not in file.parts:
                expected.add(f"{inside}/{file.relative_to(ROOT / folder)}")
    assert expected <= names, sorted(expected - names)


@pytest.mark.slow
@pytest.mark.parametrize("inside", [True, False], ids=["in the repository", "elsewhere"])
def test_wheel_works(wheel: Path, tmp_path: Path, inside: bool) -> None:
    """Installed from the wheel, the package is found, works, and leaves the names envs and rollouts alone."""
    site = tmp_path / "site"
    run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)],
        cwd=tmp_path,
    )
    assert {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")} == {"worldmodel", "bin"}
    where = ROOT if inside else tmp_path
    home, module = run([sys.executable, "-P", "-c", USE], cwd=where, path=site).split()
    assert Path(home) == site / "worldmodel"
    assert module == "worldmodel.rollouts.storage"
    for script in project()["project"]["scripts"]:  # type: ignore[index]
        assert "usage: " in run([str(site / "bin" / script), "--help"], cwd=where, path=site)


@pytest.mark.parametrize("inside", [True, False], ids=["in the repository", "elsewhere"])
def test_checkout_works(tmp_path: Path, inside: bool) -> None:
    """Installed in place, as the tests themselves use it, the package exposes envs and rollouts inside worldmodel."""
    home, module = run([sys.executable, "-P", "-c", USE], cwd=ROOT if inside else tmp_path).split()
    assert Path(home) == ROOT / "worldmodel"
    assert module == "worldmodel.rollouts.storage"


def test_every_package_is_listed() -> None:
    """setuptools is told every folder that holds modules: a forgotten one would be missing from the wheel only."""
    listed = set(project()["tool"]["setuptools"]["packages"])  # type: ignore[index]
    found = set()
    for folder, name in (("worldmodel", ""), ("envs", "worldmodel."), ("rollouts", "worldmodel.")):
        for file in (ROOT / folder).rglob("*.py"):
            found.add(name + ".".join(file.parent.relative_to(ROOT).parts))
    assert listed == found


def test_torch_is_pinned_for_everyone() -> None:
    """The constraints fix the torch that numbers were measured with, inside of what the package allows."""
    lines = (ROOT / "constraints.txt").read_text().split()
    assert [line for line in lines if line.startswith("torch==")] == ["torch==2.13.0"]
    assert any(line.startswith("torch>=") for line in project()["project"]["dependencies"])  # type: ignore[index]


def test_shipped_files_are_small() -> None:
    """No file of the repository is larger than 16 MiB, and what ships with the package stays below 64 MiB."""
    files = [file for file in (ROOT / "worldmodel").rglob("*") if file.is_file() and file.suffix != ".pyc"]
    sizes = [file.stat().st_size for file in files]
    assert max(sizes) <= 16 * 2**20
    assert sum(sizes) <= 64 * 2**20
