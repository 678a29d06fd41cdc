"""Trained agents on disk: the policy's weights, what it has to be shown, and how it acts on a frame.

A directory holds `agent.zip` (Stable-Baselines3), `agent.json` (an `AgentSpec`) and `tokenizer/`, through which the
agent sees. Of the zip only weights are read: nothing is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from ..rollouts.manifest import write_atomically
from ..tokenizer.model import Tokenizer
from .observation import Observer

SCHEMA = 1
POLICIES = {"frames": "CnnPolicy", "codes": "MlpPolicy", "features": "MlpPolicy"}  # of Stable-Baselines3


@dataclass(frozen=True, kw_only=True)
class AgentSpec:
    """What an agent was trained on, and what it has to be shown.

    Attributes:
        observation: "frames", "codes" or "features", see `Observer`.
        action_names: what each of its actions means.
        settings: of the game, as its data set has them.
        context_frames: it takes over when so many frames were shown; those before are played at random.
        trained_in: "imagination", "real" or "shuffled".
        hidden: widths of the policy's and of the value's hidden layers.
        steps: so many steps it has been trained.
        seed: of its training.
        temperature: of sampling, in imagination.
        training: the other settings of its training.
        mean_return: of the last episodes of its training, in the world it was trained in.
    """

    observation: str
    action_names: tuple[str, ...]
    settings: Mapping[str, Any]
    context_frames: int
    trained_in: str
    hidden: tuple[int, ...]
    steps: int
    seed: int
    temperature: float
    training: Mapping[str, Any] = field(default_factory=dict)
    mean_return: float | None = None
    schema: int = SCHEMA

    @property
    def policy_settings(self) -> dict[str, Any]:
        """What Stable-Baselines3 builds the policy's networks with."""
        return {"net_arch": {"pi": list(self.hidden), "vf": list(self.hidden)}}

    def write(self, directory: Path) -> None:
        """Write `agent.json`, all or nothing."""
        write_atomically(directory / "agent.json", (json.dumps(asdict(self), indent=2) + "\n").encode())

    @classmethod
    def read(cls, directory: Path) -> AgentSpec:
        """Read `agent.json`.

        Raises:
            ValueError: if it is missing, damaged, or of another schema.
        """
        file = directory / "agent.json"
        try:
            content = json.loads(file.read_bytes())
            lists = {name: tuple(content[name]) for name in ("action_names", "hidden")}
            spec = cls(**(content | lists))
        except FileNotFoundError:
            raise ValueError(f"no agent in {directory} (worldmodel train-agent --out {directory} makes one)") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is damaged: {error}") from None
        if spec.schema != SCHEMA:
            raise ValueError(f"{file} has schema {spec.schema}; this version reads {SCHEMA}")
        return spec


class Agent:
    """A trained policy that is shown frames of the real game.

    Attributes:
        action_names: what its actions mean.
        spec: what it was trained on.
    """

    def __init__(self, spec: AgentSpec, tokenizer: Tokenizer, policy: Any) -> None:
        self.spec, self.action_names = spec, spec.action_names
        self.observer = Observer(tokenizer, spec.observation)
        self.policy = policy

    def __call__(self, frame: np.ndarray) -> int:
        """Return the index of the action for a frame uint8 (H W 3): the likeliest one."""
        return int(self.act(self.observer.of_frames(frame[None]))[0])

    @torch.inference_mode()
    def act(self, observations: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Return the actions (b) for observations (b ...): drawn with `rng`, or the likeliest without."""
        seen, _ = self.policy.obs_to_tensor(observations)
        probabilities = self.policy.get_distribution(seen).distribution.probs.double().cpu().numpy()
        if rng is None:
            return np.asarray(probabilities.argmax(-1))
        drawn = (probabilities.cumsum(-1) < rng.random((len(probabilities), 1))).sum(-1)
        return np.asarray(drawn.clip(max=probabilities.shape[-1] - 1))


def load(path: str | Path) -> Agent:
    """Return the agent of an `agent.zip`, or of the directory it lies in.

    Raises:
        ValueError: if there is none, or a part of it is missing or damaged.
    """
    directory = Path(path)
    directory = directory.parent if directory.suffix == ".zip" else directory
    spec = AgentSpec.read(directory)
    tokenizer = Tokenizer.from_pretrained(directory / "tokenizer")
    space = Observer(tokenizer, spec.observation).space
    return Agent(spec, tokenizer, _load_policy(directory / "agent.zip", spec, space))


def _load_policy(file: Path, spec: AgentSpec, space: spaces.Box) -> Any:
    """Return the policy with the weights of a zip of Stable-Baselines3; its pickled part is not read."""
    try:
        from stable_baselines3 import PPO
        from stable_baselines3.common.save_util import load_from_zip_file
    except ImportError:
        raise ValueError(f"{file} needs Stable-Baselines3: pip install -e '.[rl]'") from None
    try:
        _, parameters, _ = load_from_zip_file(file, load_data=False, device="cpu")
        kind = PPO.policy_aliases[POLICIES[spec.observation]]
        with torch.random.fork_rng(devices=[]):
            policy = kind(space, spaces.Discrete(len(spec.action_names)), lambda _: 0.0, **spec.policy_settings)
        weights: Any = parameters["policy"]
        policy.load_state_dict(weights)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"cannot read {file}: {str(error).splitlines()[0]}") from error
    return policy.eval()


def translated(agent_names: Sequence[str], game_names: Sequence[str]) -> list[int]:
    """Return the game's index of each of an agent's actions, by name.

    Raises:
        ValueError: if the game has no such action.
    """
    missing = [name for name in agent_names if name not in game_names]
    if missing:
        raise ValueError(f"the agent does {missing[0]!r}, which the game does not know ({', '.join(game_names)})")
    return [list(game_names).index(name) for name in agent_names]
