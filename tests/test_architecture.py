"""The invariants of the layout: what may import what, what no file may do, and how long a file may be."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("envs", "rollouts", "worldmodel")  # each may import those before it
FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))
TORCH = {"torch", "accelerate", "safetensors", "einops", "jaxtyping"}
SHADOWED = ("envs", "rollouts")  # installed as worldmodel.envs and worldmodel.rollouts; the bare names are not ours
MAX_LINES = 400

each_file = pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(ROOT)) for file in FILES])


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), filename=str(file))


def imports(file: Path) -> Iterator[str]:
    """Yield what a file imports: `torch.nn`, or for a relative one the name below worldmodel: `.rollouts.storage`."""
    package = ("worldmodel", *file.relative_to(ROOT).parts[:-1])
    package = package[1:] if package[1] == "worldmodel" else package
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
        elif isinstance(node, ast.ImportFrom):
            base = package[1 : len(package) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ("." + ".".join([*base, name]) for name in names)


@each_file
def test_imports_point_one_way(file: Path) -> None:
    """worldmodel may import rollouts and envs, rollouts may import envs, and never back; relative imports only."""
    folder = file.relative_to(ROOT).parts[0]
    above = FOLDERS[FOLDERS.index(folder) + 1 :]
    for name in imports(file):
        assert name.split(".")[0] not in (*FOLDERS, "tests"), f"{name}: import within the package is relative"
        inside = name.split(".")[1] if name.startswith(".") else None
        if inside is None or folder == "worldmodel":
            continue
        belongs_to = inside if inside in FOLDERS else "worldmodel"
        assert belongs_to not in above, f"{folder} must not import {name}"


@each_file
def test_torch_only_below_worldmodel(file: Path) -> None:
    """envs/ and rollouts/ work without torch."""
    if file.relative_to(ROOT).parts[0] != "worldmodel":
        assert not {name.split(".")[0] for name in imports(file)} & TORCH


@each_file
def test_vizdoom_only_in_its_folder(file: Path) -> None:
    """Every other file knows games, not engines."""
    if ROOT / "envs" / "vizdoom" not in file.parents:
        assert not [name for name in imports(file) if name.split(".")[0] == "vizdoom"]


OF_THE_MAP = {"pose", "poses", "doom", "vizdoom", "belief", "player", "heading", "radiance"}
CORE = [file for file in FILES if file.parts[-2] in ("dynamics", "tokenizer")]


@pytest.mark.parametrize("file", CORE, ids=[str(file.relative_to(ROOT)) for file in CORE])
def test_the_core_knows_no_map(file: Path) -> None:
    """What the dynamics is told of the next frame is an expectation: of poses, maps and engines it knows nothing."""
    assert not [name for name in imports(file) if name.startswith((".learned_map", ".training", ".envs"))]
    assert not words(file) & OF_THE_MAP
    assert "learned map" not in file.read_text().lower()


def test_the_simulator_only_joins_the_two() -> None:
    """It knows that there may be a learned map, and nothing of what one is made of."""
    assert not words(ROOT / "worldmodel" / "simulator.py") & OF_THE_MAP


def words(file: Path) -> set[str]:
    return set(re.findall(r"[a-z]+", file.read_text().lower()))


@each_file
def test_only_the_join_knows_both(file: Path) -> None:
    """The learned map's package is used where it is joined to the dynamics and where it is trained, nowhere else."""
    place = file.relative_to(ROOT)
    joins = {"simulator.py", "speed.py", "convert.py"}
    if place.parts[1] in {"learned_map", "training", "commands"} or place.name in joins:
        return
    assert not [name for name in imports(file) if name.startswith(".learned_map")]


@each_file
def test_no_file_is_long(file: Path) -> None:
    """One idea a file."""
    assert len(file.read_text().splitlines()) < MAX_LINES


@each_file
def test_every_module_says_what_it_owns(file: Path) -> None:
    """The first line of a module is its docstring, one sentence."""
    docstring = ast.get_docstring(tree(file))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":", "?"))


@each_file
def test_nothing_loads_code(file: Path) -> None:
    """No pickle, no eval, no exec, no torch.load: data is never code."""
    assert not {name.split(".")[0] for name in imports(file)} & {"pickle", "dill", "cloudpickle", "marshal", "shelve"}
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            assert call not in {"eval", "exec", "__import__", "torch.load", "torch.save", "yaml.load"}, call
            if call.startswith("np."):
                assert "allow_pickle" not in {keyword.arg for keyword in node.keywords}


@each_file
def test_no_global_randomness(file: Path) -> None:
    """Randomness is passed in. Weights, which torch draws globally, are drawn inside torch.random.fork_rng."""
    module = tree(file)
    forked = {
        id(inner)
        for node in ast.walk(module)
        if isinstance(node, ast.With) and any("fork_rng" in ast.unparse(item) for item in node.items)
        for inner in ast.walk(node)
    }
    assert "random" not in imports(file)
    for node in ast.walk(module):
        if not isinstance(node, ast.Call) or id(node) in forked:
            continue
        call = ast.unparse(node.func)
        assert call not in {"torch.manual_seed", "torch.seed", "torch.cuda.manual_seed_all"}, call
        if call.startswith("np.random.") and "(" not in call:
            assert call in {"np.random.default_rng", "np.random.Generator", "np.random.SeedSequence"}, call


@pytest.mark.parametrize("module", ["worldmodel", "worldmodel.envs", "worldmodel.rollouts", "worldmodel.video.mp4"])
def test_import_is_light(module: str) -> None:
    """Importing the package, its games, recordings and videos loads neither torch nor an engine, and prints nothing."""
    code = f"import sys, {module}; assert not {{'torch', 'vizdoom', 'accelerate'}} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_public_names() -> None:
    """__all__ is sorted and complete, every name is there, and a name that is not is an AttributeError."""
    import worldmodel

    assert worldmodel.__all__ == sorted(worldmodel.__all__)
    assert set(worldmodel.__all__) == set(worldmodel._HOMES)
    assert set(worldmodel.__all__) <= set(dir(worldmodel))
    for name in worldmodel.__all__:
        assert getattr(worldmodel, name).__name__ == name
        assert getattr(worldmodel, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = worldmodel.Nothing


def test_tests_mirror_the_tree() -> None:
    """Every test file is named after a module, a function of its package, or one of the repository's own concerns."""
    concerns = {
        "faults/test_faults.py",
        "test_architecture.py",
        "test_docs.py",
        "test_packaging.py",
        "test_recipes.py",
        "test_recorded_codes.py",
        "commands/test_help.py",
        "play/test_page.py",
    }
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        place = file.relative_to(ROOT / "tests")
        module = place.with_name(place.name.removeprefix("test_"))
        homes = [ROOT / module, ROOT / "worldmodel" / module]
        packages = [home.with_name("__init__.py") for home in homes]
        functions = "".join(package.read_text() for package in packages if package.exists())
        known = str(place) in concerns or any(home.exists() for home in homes) or f"def {module.stem}(" in functions
        assert known, f"{place} tests no module"
