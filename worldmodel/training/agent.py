"""Trains an agent with Stable-Baselines3's PPO: in imagination, in the real game, or in the shuffled control."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecMonitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from ..checkpoints import gallery
from ..checkpoints.checkpoint import read_index
from ..config import require_positive
from ..environment.agents import POLICIES, AgentSpec
from ..environment.observation import OBSERVATIONS, Observer
from ..environment.real_game import RealGameEnv
from ..environment.sb3 import ImaginedVecEnv, ShuffledActions
from ..imagination.sources import other_game
from ..rollouts import EpisodeDataset
from ..simulator import Simulator
from .loop import Interrupted
from .stopping import stop_signals
from .tokenizer import save_tokenizer

WORLDS = ("imagination", "real", "shuffled")
RECENT = 100  # episodes whose mean return is shown


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """How an agent is trained. Stable-Baselines3's names where it has them; defaults are for short episodes."""

    steps: int = 50_000  # of all games together
    world: str = "imagination"  # "imagination", "real", or "shuffled": imagination with meaningless actions
    observation: str = "features"
    games: int = 16  # at once, in imagination
    horizon: int = 100  # imagined steps after which an episode is cut off
    context_frames: int = 4  # real frames an imagined episode begins with
    temperature: float = 1.0  # of imagination
    hidden: tuple[int, ...] = (64, 64)
    n_steps: int = 32  # of each imagined game before an update; the real game does as many as all of them
    batch_size: int = 128
    n_epochs: int = 8
    learning_rate: float = 5e-4
    gamma: float = 0.99
    gae_lambda: float = 0.95
    ent_coef: float = 0.01
    save_every_steps: int = 8192
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "steps", "games", "horizon", "context_frames", "n_steps", "batch_size", "n_epochs")
        require_positive(self, "learning_rate", "save_every_steps")
        if self.world not in WORLDS:
            raise ValueError(f"world must be one of {', '.join(WORLDS)}, got {self.world!r}")
        if self.observation not in OBSERVATIONS:
            raise ValueError(f"observation must be one of {', '.join(OBSERVATIONS)}, got {self.observation!r}")


class ScaledRewards(VecEnvWrapper):
    """Rewards divided by a constant: the largest that the game gives, so that values stay around 1."""

    def __init__(self, venv: VecEnv, *, scale: float) -> None:
        super().__init__(venv)
        self.scale = scale

    def reset(self) -> Any:
        """Begin an episode in every game."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Return what the step brought."""
        observations, rewards, dones, infos = self.venv.step_wait()
        return observations, rewards / self.scale, dones, infos


def train_agent(
    checkpoint: str | os.PathLike[str],
    data: str | Path,
    out: Path,
    config: AgentConfig,
    *,
    resume: bool = False,
) -> dict[str, Any]:
    """Train an agent and save it in `out`; return how many steps it was trained and its last episodes' mean return.

    A resumed run goes on with the same policy and optimizer, and with new episodes.

    Args:
        checkpoint: a dynamics checkpoint with reward and end heads: its directory, or its name in the gallery.
        data: a data set of the same game, whose episodes' beginnings are the contexts.

    Raises:
        ValueError: if `out` holds an agent and `resume` is False, or it is another run's; or for a checkpoint or data
            set that does not fit.
        Interrupted: on SIGINT or SIGTERM, after saving.
    """
    checkpoint = gallery.resolve(checkpoint)
    simulator = Simulator.from_pretrained(checkpoint, temperature=config.temperature)
    dataset = EpisodeDataset(data)
    if warning := other_game(data, dataset.info.env, simulator):
        print(warning, file=sys.stderr)
    spec = _spec(simulator, dataset, config)
    done = _done(out, spec, resume=resume)
    games = VecMonitor(_games(simulator, dataset, config))
    try:
        model = _model(ScaledRewards(games, scale=_largest_reward(simulator)), spec, config, seed=config.seed + done)
        if done:
            model.set_parameters(str(out / "agent.zip"), device="cpu")
            model.num_timesteps = done
        out.mkdir(parents=True, exist_ok=True)
        save_tokenizer(
            simulator.tokenizer,
            out / "tokenizer",
            read_index(checkpoint / "tokenizer", kind="tokenizer")["metrics"],
        )
        with stop_signals() as signals:
            keeper = _Keeper(out, spec, config, signals)
            model.learn(max(0, config.steps - done), callback=keeper, reset_num_timesteps=False)
            keeper.save()
        if signals:
            raise Interrupted(signals[-1])
        return {"out": str(out), "steps": model.num_timesteps, "mean_return": keeper.mean_return()}
    finally:
        games.close()


def _spec(simulator: Simulator, dataset: EpisodeDataset, config: AgentConfig) -> AgentSpec:
    return AgentSpec(
        observation=config.observation,
        action_names=simulator.action_names,
        settings=dataset.info.settings,
        context_frames=config.context_frames,
        trained_in=config.world,
        hidden=config.hidden,
        steps=0,
        seed=config.seed,
        temperature=config.temperature,
        training={name: value for name, value in asdict(config).items() if name not in {"steps", "save_every_steps"}},
    )


def _done(out: Path, spec: AgentSpec, *, resume: bool) -> int:
    """Return the steps that the run in `out` has been trained."""
    if not (out / "agent.json").exists():
        return 0
    if not resume:
        raise ValueError(f"{out} already holds an agent; add --resume to train it further or choose another --out")
    before = AgentSpec.read(out)
    was, now = (json.loads(json.dumps(asdict(each))) for each in (before, spec))
    for name, value in now.items():
        if name not in {"steps", "mean_return"} and was[name] != value:
            raise ValueError(
                f"the agent in {out} was trained with {name} {was[name]}, not {value}; "
                "resume with the same settings or choose another --out"
            )
    return before.steps


def _games(simulator: Simulator, dataset: EpisodeDataset, config: AgentConfig) -> VecEnv:
    """Return the games that the agent is trained in."""
    if config.world == "real":
        observer = Observer(simulator.tokenizer, config.observation)

        def make() -> RealGameEnv:
            return RealGameEnv(
                dataset.info.settings,
                observer,
                action_names=simulator.action_names,
                context_frames=config.context_frames,
            )

        return DummyVecEnv([make])
    games = ImaginedVecEnv(
        config.games,
        simulator,
        dataset.path,
        horizon=config.horizon,
        observation=config.observation,
        context_frames=config.context_frames,
    )
    return games if config.world == "imagination" else ShuffledActions(games, seed=config.seed)


def _largest_reward(simulator: Simulator) -> float:
    return max((abs(reward) for reward in simulator.dynamics.config.rewards), default=0.0) or 1.0


def _model(games: VecEnv, spec: AgentSpec, config: AgentConfig, *, seed: int) -> PPO:
    """Return PPO on these games. So many steps come before an update, whatever the number of games."""
    return PPO(
        POLICIES[config.observation],
        games,
        n_steps=max(2, config.n_steps * config.games // games.num_envs),
        batch_size=config.batch_size,
        n_epochs=config.n_epochs,
        learning_rate=config.learning_rate,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        ent_coef=config.ent_coef,
        policy_kwargs=spec.policy_settings,
        seed=seed,
        device="cpu",
    )


class _Keeper(BaseCallback):
    """Shows progress, saves the agent from time to time, and stops for a signal."""

    def __init__(self, out: Path, spec: AgentSpec, config: AgentConfig, signals: Sequence[int]) -> None:
        super().__init__()
        self.out, self.spec, self.config, self.signals = out, spec, config, signals
        self.saved = 0
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=Console(stderr=True))

    def mean_return(self) -> float | None:
        """Return the mean return of the last episodes, None before the first has ended."""
        returns = [episode["r"] for episode in self.model.ep_info_buffer or ()]
        return float(np.mean(returns)) if returns else None

    def save(self) -> None:
        """Write the agent: its weights first, then what they are."""
        temporary = self.out / ".agent.tmp.zip"
        self.model.save(temporary)
        os.replace(temporary, self.out / "agent.zip")
        replace(self.spec, steps=self.model.num_timesteps, mean_return=self.mean_return()).write(self.out)
        self.saved = self.model.num_timesteps

    def _on_training_start(self) -> None:
        self.saved = self.model.num_timesteps
        self.progress.start()
        self.task = self.progress.add_task("training", total=self.config.steps, completed=self.model.num_timesteps)

    def _on_step(self) -> bool:
        return not self.signals

    def _on_rollout_end(self) -> None:
        steps, mean = self.model.num_timesteps, self.mean_return()
        shown = "" if mean is None else f", mean return {mean:.1f}"
        self.progress.update(self.task, completed=steps, description=f"training in {self.config.world}{shown}")
        with open(self.out / "log.jsonl", "a") as log:
            log.write(json.dumps({"step": steps, "mean_return": mean}) + "\n")
        if steps - self.saved >= self.config.save_every_steps:
            self.save()

    def _on_training_end(self) -> None:
        self.progress.stop()
