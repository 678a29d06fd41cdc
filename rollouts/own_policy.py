"""Policies of the user's own: a function, a class, or a model that Stable-Baselines3 saved.

my_policies:choose       a function choose(frame, variables, action_names, rng) -> action name or index
path/to/file.py:Player   a class: Player(action_names, rng), then called with (frame, variables) at every step
model.zip                an agent saved by Stable-Baselines3; it sees the environment's own observation
agent/agent.zip          an agent of `worldmodel train-agent`, with agent.json beside it; it sees the recorded frames
"""

from __future__ import annotations

import functools
import importlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..envs import Game

INSTALL = "pip install -e '.[rl]'"


class Chooser(Protocol):
    """What a policy of one's own is turned into."""

    def act(self, variables: Mapping[str, float], *, frame: np.ndarray | None = None) -> int: ...


def is_own(name: str) -> bool:
    """Whether `name` names a policy of the user's own."""
    return ":" in name or name.endswith(".zip")


def load(name: str, action_names: Sequence[str], rng: np.random.Generator, game: Game | None) -> Chooser:
    """Return the policy `name` for one episode.

    Raises:
        ValueError: if it cannot be loaded, or cannot play this game.
    """
    if name.endswith(".zip"):
        if Path(name).with_name("agent.json").exists():
            return ImaginedAgentPolicy(name, action_names, rng)
        return AgentPolicy(name, game)
    return OwnPolicy(name, action_names, rng)


class OwnPolicy:
    """A function or class of the user's."""

    def __init__(self, name: str, action_names: Sequence[str], rng: np.random.Generator) -> None:
        place, _, member = name.rpartition(":")
        from ..envs.registry import load_module  # late: it brings Gymnasium

        found = getattr(load_module(place, name), member, None)
        if not callable(found):
            raise ValueError(f"{place} has no function {member!r}")
        self._name = name
        self._action_names = tuple(action_names)
        self._choose: Callable[[np.ndarray | None, Mapping[str, float]], Any]
        if isinstance(found, type):
            self._choose = found(self._action_names, rng)
        else:
            self._choose = lambda frame, variables: found(frame, variables, self._action_names, rng)

    def act(self, variables: Mapping[str, float], *, frame: np.ndarray | None = None) -> int:
        """Return the index of the action that it chose, by name or by index.

        Raises:
            ValueError: if it failed, or chose what is no action.
        """
        try:
            chosen = self._choose(frame, variables)
        except Exception as error:  # the user's own code may fail in any way
            raise ValueError(f"the policy {self._name} failed: {type(error).__name__}: {error}") from error
        if isinstance(chosen, str) and chosen in self._action_names:
            return self._action_names.index(chosen)
        if isinstance(chosen, int | np.integer) and 0 <= chosen < len(self._action_names):
            return int(chosen)
        raise ValueError(f"the policy {self._name} chose {chosen!r}; actions are {', '.join(self._action_names)}")


class AgentPolicy:
    """An agent of Stable-Baselines3. Loading it runs code from the file: use only agents that you trust."""

    def __init__(self, file: str, game: Game | None) -> None:
        if not hasattr(game, "observation") or not hasattr(game, "action_values"):
            raise ValueError(f"{file} needs a Gymnasium environment, whose observations it was trained on")
        self._game: Any = game
        self._agent = _load_agent(file)

    def act(self, variables: Mapping[str, float], *, frame: np.ndarray | None = None) -> int:
        """Return the action whose value is nearest to what the agent does.

        Raises:
            ValueError: if the agent was trained on other observations.
        """
        try:
            action, _ = self._agent.predict(self._game.observation)
        except (ValueError, TypeError, AssertionError) as error:
            raise ValueError(f"the agent does not fit the environment: {error}") from error
        values = np.stack([np.asarray(value, dtype=float).ravel() for value in self._game.action_values])
        return int(np.square(values - np.asarray(action, dtype=float).ravel()).sum(axis=1).argmin())


class ImaginedAgentPolicy:
    """An agent that was trained in imagination. It draws its actions, as it did in training; no code is loaded."""

    def __init__(self, file: str, action_names: Sequence[str], rng: np.random.Generator) -> None:
        self._agent, self._rng = _load_imagined_agent(file), rng
        missing = [name for name in self._agent.action_names if name not in action_names]
        if missing:
            raise ValueError(f"the agent does {missing[0]!r}, which the game does not know ({', '.join(action_names)})")
        self._actions = [list(action_names).index(name) for name in self._agent.action_names]

    def act(self, variables: Mapping[str, float], *, frame: np.ndarray | None = None) -> int:
        """Return the index of the action that it draws for the frame."""
        if frame is None:
            raise ValueError("the agent has to see the frame")
        observation = self._agent.observer.of_frames(frame[None])
        return self._actions[int(self._agent.act(observation, self._rng)[0])]


@functools.lru_cache(maxsize=1)
def _load_imagined_agent(file: str) -> Any:
    # The agent needs torch, which nothing of this package does: it is found by its name, once it is asked for.
    return importlib.import_module("worldmodel.environment.agents").load(file)


def _load_agent(file: str) -> Any:
    try:
        library: Any = importlib.import_module("stable_baselines3")
    except ImportError as error:
        raise ValueError(f"{file} needs the package stable-baselines3: {INSTALL}") from error
    try:
        with zipfile.ZipFile(file) as archive:
            saved = json.loads(archive.read("data"))
        return getattr(library, _algorithm(saved)).load(file, device="cpu")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, AttributeError, RuntimeError) as error:
        raise ValueError(f"{file} is no agent of Stable-Baselines3 that can be loaded: {error}") from error


def _algorithm(saved: Mapping[str, Any]) -> str:
    """Return which algorithm saved an agent."""
    module = saved["policy_class"]["__module__"]
    for name in ("DQN", "SAC", "TD3"):
        if f".{name.lower()}." in module:
            return name
    return "PPO" if "n_epochs" in saved else "A2C"
