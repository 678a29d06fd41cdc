"""Finds a Gymnasium environment by its name, and registers the families that need an import first.

CartPole-v1             a registered id; ALE/..., MiniGrid-... and highway's ids register themselves
my_module:MyGame-v0     an id that `my_module`, installed or in the current folder, registers
path/to/game.py:MyGame  a class in a file
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium

# The first letters of the ids -> the module that registers them, and what installs it.
FAMILIES = {
    "ALE/": ("ale_py", "pip install -e '.[atari]'"),
    "MiniGrid-": ("minigrid", "pip install -e '.[minigrid]'"),
    "BabyAI-": ("minigrid", "pip install -e '.[minigrid]'"),
    "MiniWorld-": ("miniworld", "pip install miniworld"),
    "highway-": ("highway_env", "pip install highway-env"),
    "merge-": ("highway_env", "pip install highway-env"),
    "roundabout-": ("highway_env", "pip install highway-env"),
    "parking-": ("highway_env", "pip install highway-env"),
    "intersection-": ("highway_env", "pip install highway-env"),
    "racetrack-": ("highway_env", "pip install highway-env"),
}
# A package that an environment misses -> what installs it.
INSTALL = {
    "box2d": "pip install -e '.[box2d]'",
    "pygame": "pip install -e '.[box2d]'",
    "mujoco": "pip install mujoco",
    "ale_py": "pip install -e '.[atari]'",
    "minigrid": "pip install -e '.[minigrid]'",
}


def make(env_id: str, arguments: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    """Return the environment `env_id`, rendering to arrays, made with the keyword arguments `arguments`.

    Raises:
        ValueError: in one line, if there is none (the nearest is suggested), a package is missing (with the line that
            installs it), or it does not take the arguments.
    """
    maker = _maker(env_id)
    try:
        env: gymnasium.Env[Any, Any] = maker(render_mode="rgb_array", **arguments)
    except Exception as error:  # an environment may raise anything: users' code and their typos
        raise ValueError(f"cannot make {env_id}{_with(arguments)}: {_reason(error)}") from error
    return env


def _maker(env_id: str) -> Callable[..., gymnasium.Env[Any, Any]]:
    module, colon, name = env_id.rpartition(":")
    if colon and module.endswith(".py"):
        return _class_of(load_module(module, env_id), name, env_id)
    if colon:
        load_module(module, env_id)
        env_id = name
    elif env_id not in gymnasium.registry:
        _register_family(env_id)
    if env_id not in gymnasium.registry:
        raise ValueError(
            f"no environment named {env_id!r}{_nearest(env_id)}; an environment of your own is "
            f"named module:{env_id or 'Id'} or path/to/file.py:Class"
        )
    return lambda **arguments: gymnasium.make(env_id, **arguments)


def _register_family(env_id: str) -> None:
    """Import the module that registers ids like `env_id`, where there is one."""
    for prefix, (module, install) in FAMILIES.items():
        if env_id.startswith(prefix):
            try:
                importlib.import_module(module)
            except ImportError as error:
                raise ValueError(f"{env_id} needs the package {module}: {install} ({error})") from error
            if module == "ale_py":
                silence_ale()
            return


def silence_ale() -> None:
    """Keep Atari's emulator from greeting on stderr for every game that is made."""
    ale = importlib.import_module("ale_py")
    ale.ALEInterface.setLoggerMode(ale.LoggerMode.Error)


def load_module(place: str, wanted: str) -> ModuleType:
    """Return the module `place`, a name (it may lie in the current folder) or a file, from which `wanted` is taken.

    Raises:
        ValueError: if there is none, or it fails.
    """
    return _load_file(Path(place)) if place.endswith(".py") else _import(place, wanted)


def _import(module: str, env_id: str) -> ModuleType:
    """Import `module`, which may lie in the current folder."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except Exception as error:  # the user's own code may fail in any way
        raise ValueError(f"cannot load {env_id}: the module {module!r} failed: {_reason(error)}") from error
    finally:
        if here in sys.path:
            sys.path.remove(here)


def _load_file(file: Path) -> ModuleType:
    """Return the module in `file`; the file's folder may hold what it imports."""
    if not file.is_file():
        raise ValueError(f"no file {file}; an environment in a file is named path/to/file.py:Class")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(file.stem, module)
    folder = str(file.parent.resolve())
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's own code may fail in any way
        raise ValueError(f"cannot load {file}: {_reason(error)}") from error
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
    return module


def _class_of(module: ModuleType, name: str, env_id: str) -> Callable[..., gymnasium.Env[Any, Any]]:
    found = getattr(module, name, None)
    if callable(found):
        maker: Callable[..., gymnasium.Env[Any, Any]] = found
        return maker
    if name in gymnasium.registry:
        return lambda **arguments: gymnasium.make(name, **arguments)
    classes = [
        key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, gymnasium.Env)
    ]
    raise ValueError(
        f"no class {name!r} in {env_id.rpartition(':')[0]} (environments there: {', '.join(classes) or 'none'})"
    )


def _nearest(env_id: str) -> str:
    near = difflib.get_close_matches(env_id, ["toy", "VizdoomMyWayHome-v1", *gymnasium.registry], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _with(arguments: Mapping[str, Any]) -> str:
    return " with " + ", ".join(f"{name}={value}" for name, value in arguments.items()) if arguments else ""


def _reason(error: BaseException) -> str:
    """Return what went wrong in one line, with the line that installs what is missing."""
    text = " ".join(str(error).split()) or type(error).__name__
    lower = text.lower()
    missing = [line for package, line in INSTALL.items() if package in lower]
    needs = isinstance(error, ImportError | gymnasium.error.DependencyNotInstalled) and missing
    named = (
        text
        if isinstance(error, gymnasium.error.Error | ImportError | ValueError)
        else f"{type(error).__name__}: {text}"
    )
    return f"a package is missing: {missing[0]} ({text})" if needs else named
