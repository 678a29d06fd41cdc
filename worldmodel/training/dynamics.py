"""Stage 2: train the dynamics on clips of cached codes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..checkpoints.checkpoint import Checkpoint, read, write
from ..config import DynamicsConfig, TrainingConfig, to_dict
from ..dynamics.expectation import Expectation, drop_expectation
from ..dynamics.model import Dynamics
from ..dynamics.samplers import make_sampler
from ..dynamics.sampling import gumbel_noise
from ..learned_map.config import LearnedMapConfig
from ..rollouts import EpisodeDataset
from ..runtime import autocast
from ..simulator import LEARNED_MAP, Simulator
from ..tokenizer.model import Tokenizer
from ..types import UNKNOWN_ACTION, Actions, Codes, Report
from .data import CodeClips, cached_codes, first_episodes, held_out_clips
from .loop import Progress, train
from .map_run import MapRun, recorded_poses
from .optical_flow import code_appearance, fit_flow, fit_steps
from .optimizer import prepare
from .outcome import OutcomeClips
from .state import has_state
from .tokenizer import save_tokenizer

MAX_ROLLOUT = 6  # frames of a self-rollout
HELD_OUT_CLIPS = 24
HELD_OUT_AT_ONCE = 4
SHEET_CONTEXT, SHEET_CLIPS = 4, 3
FLOW = "context.flow."  # how the names of the weights begin that are fitted before the first step
OWN_BUFFERS = ("code_vectors", "code_appearance")  # of this run's tokenizer

DEFAULTS = TrainingConfig(
    batch=1, clip=11, learning_rate=2e-3, muon_learning_rate=4e-3, weight_decay=0.01, minutes=60.0, ema_decay=0.998
)


class DynamicsStage:
    """What the loop needs to train the dynamics of a tokenizer's codes.

    Args:
        dataset: recordings.
        tokenizer: of their frames.
        config: of the dynamics.
        training: how.
        cache: the directory of the codes.
        tokenizer_metrics: go into the tokenizer's copy within the checkpoint.
        map_config: of the learned map, for a dynamics with `expectation`; None without one.
    """

    def __init__(
        self,
        dataset: EpisodeDataset,
        tokenizer: Tokenizer,
        config: DynamicsConfig,
        training: TrainingConfig,
        *,
        cache: Path,
        tokenizer_metrics: dict[str, Any],
        map_config: LearnedMapConfig | None = None,
    ) -> None:
        self.tokenizer, self.training = tokenizer, training
        self.tokenizer_metrics = tokenizer_metrics
        self.env = dataset.info.env
        self.fingerprints = {"data": dataset.fingerprint, "tokenizer": tokenizer.fingerprint()}
        if config.code_pixels * config.code_grid != tokenizer.config.frame_size:
            pixels = tokenizer.config.frame_size // config.code_grid
            raise ValueError(
                f"code_pixels must be {pixels}, the side of this tokenizer's codes, got {config.code_pixels}"
            )
        episodes = first_episodes(dataset, training.episodes)
        # Before the codes, which take minutes: a pose may be unusable.
        poses = None if map_config is None else recorded_poses(dataset, episodes)
        codes = cached_codes(dataset, tokenizer, directory=cache, episodes=episodes)
        self.batch = training.batch
        self.outcomes = OutcomeClips(dataset, clip=training.clip, episodes=episodes) if config.rewards else None
        self.clips = CodeClips(
            dataset, codes, clip=training.clip, episodes=episodes, last_steps=self.outcomes is not None
        )
        recent = min(config.action_history + 1, training.clip)
        self.recent = CodeClips(dataset, codes, clip=recent, episodes=episodes, split_clip=training.clip)
        asked = held_out_clips(HELD_OUT_CLIPS, training.minutes)
        self.held_out_places = self.clips.held_out.spread(asked)
        self.held_out = self.clips.read(self.held_out_places)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            self.model = Dynamics(config, tokenizer.codebook.vectors)
        self.flow_is_open = self._start(training)
        self.map_run: MapRun | None = None
        if map_config is not None:
            self.map_run = MapRun(
                dataset,
                codes,
                map_config,
                training,
                episodes=episodes,
                poses=poses,
                code_vectors=self.model.code_vectors,
                fingerprints=self.fingerprints,
            )

    def _start(self, training: TrainingConfig) -> bool:
        """Take what weights the run starts from; return whether the optical flow is to be fitted."""
        start = read(training.init, kind="dynamics").tensors if training.init else {}
        taken = prepare(self.model, training, {name: t for name, t in start.items() if name not in OWN_BUFFERS})
        flow = {
            name: parameter
            for name, parameter in self.model.named_parameters()
            if name.startswith(FLOW) and not name.startswith(f"{FLOW}expected.")  # that is learnt with the rest
        }
        # A flow that is known stays, and so does one that is not to be trained.
        return not flow.keys() <= taken and all(parameter.requires_grad for parameter in flow.values())

    def begin(self, *, signals: Sequence[int], visible: bool) -> None:
        """Learn what codes look like, and the optical flow if the run does not start from a model that knows it."""
        self.set_code_appearance()
        steps = fit_steps(self.training) if self.flow_is_open else 0
        if steps:
            fit_flow(self.model, self.recent, seed=self.training.seed, steps=steps, signals=signals, visible=visible)

    def set_code_appearance(self) -> None:
        """Learn what codes look like."""
        self.model.set_code_appearance(code_appearance(self.tokenizer, self.recent))
        if self.map_run is not None:
            self.map_run.set_code_appearance(self.model.code_appearance)

    def identity(self) -> dict[str, Any]:
        parts = {"model": self.model.config, **self.fingerprints}
        return parts if self.map_run is None else parts | {LEARNED_MAP: self.map_run.config}

    def losses(
        self, model: nn.Module, rng: np.random.Generator, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        """Draw a batch; `Dynamics.loss`, which is what `model` computes, says how much each code counts."""
        places = self.clips.training.draw(rng, self.batch)
        codes, actions = (part.to(self.model.device) for part in self.clips.read(places))
        past, expectation = codes[:, :-1], None
        if self.map_run is not None:
            num_real = None
            if rng.random() < self.training.self_rollouts:
                num_real = max(1, past.shape[1] - int(rng.integers(1, MAX_ROLLOUT + 1)))
            expectation = self._expectation(self.map_run, places, past, actions, num_real, generator)
            if num_real is not None:
                past = self.self_rollout(past, actions, num_real, expectation, generator)
        outcomes = self.outcomes.read(places).to(self.model.device) if self.outcomes else None
        losses = model(codes, actions, past=past, expectation=expectation, generator=generator, outcomes=outcomes)
        parts = {"total": losses.total, "nats": losses.nll, "aux_nats": losses.aux_nll, "flow": losses.flow}
        return parts | ({"outcome": losses.outcome} if outcomes else {})

    def _expectation(
        self,
        map_run: MapRun,
        places: Sequence[tuple[int, int]],
        past: Codes,
        actions: Actions,
        num_real: int | None,
        generator: torch.Generator,
    ) -> Expectation:
        """Return the expectations (b t) of the frames after `past` (b t h w); of some clips nothing is expected.

        It is never None: every process of a distributed run has to use every weight.
        """
        keep = torch.rand(len(past), generator=generator) >= self.training.expectation_dropout
        if keep.any():
            expectation = map_run.expectations(places, past, actions, num_real=num_real, generator=generator)
            return drop_expectation(expectation, keep)
        b, t = past.shape[:2]
        size = self.tokenizer.config.frame_size
        zeros = self.model.code_vectors.new_zeros
        return Expectation(zeros(b, t, 3, size, size), zeros(b, t))

    @torch.no_grad()
    def self_rollout(
        self, past: Codes, actions: Actions, num_real: int, expectation: Expectation, generator: torch.Generator
    ) -> Codes:
        """Return `past` (b t h w) in which only the first `num_real` frames are real: the model samples the others.

        Scheduled sampling (Bengio et al. 2015). In imagination the model's own frames drift, while the learned map goes
        on from the last real one: from real pasts alone the dynamics would never learn to rely on the expectation.
        """
        config, cache, sampler = self.model.config, self.model.new_cache(), make_sampler(self.model)
        frames = list(past[:, :num_real].unbind(1))
        for t in range(past.shape[1] - 1):
            here = Expectation(*(part[:, t] for part in expectation))
            features = self.model.observe(frames[t], actions[:, t], cache, here)
            if t + 1 >= num_real:
                shape = (len(past), config.num_patches, config.codes_per_patch, config.codebook_size)
                noise = gumbel_noise(shape, generator)
                frames.append(sampler.sample(features, noise, temperature=1.0, top_k=0))
        return torch.stack(frames, dim=1)

    def evaluate(self, model: nn.Module, report: Report) -> dict[str, float]:
        """Return nats per code over the held-out clips with the right, random and no actions.

        `action_gap` is the loss under random actions less that under the recorded ones: above 0, the model uses the
        actions. Where there is a learned map,
        `nats_without_map` and `action_gap_without_map` are those of the same model without it.
        """
        assert isinstance(model, Dynamics)
        codes, actions = self.held_out
        random = torch.randint(
            len(model.config.action_names), actions.shape, generator=torch.Generator().manual_seed(0)
        )
        cases = {
            "nats": actions,
            "nats_random_actions": random,
            "nats_no_actions": torch.full_like(actions, UNKNOWN_ACTION),
        }
        uses_map = dict.fromkeys(cases, self.map_run is not None)
        if self.map_run is not None:
            cases |= {"nats_without_map": actions, "nats_random_actions_without_map": random}
        sums, done = dict.fromkeys(cases, 0.0), 0
        for name, taken in cases.items():
            for c, a in zip(codes.split(HELD_OUT_AT_ONCE), taken.split(HELD_OUT_AT_ONCE), strict=True):
                c, a = c.to(model.device), a.to(model.device)
                sums[name] += len(c) * self._held_out_nats(model, c, a, use_map=uses_map.get(name, False))
                done += len(c)
                report(done, len(cases) * len(codes))
        nats = {name: total / len(codes) for name, total in sums.items()}
        gaps = {"action_gap": nats["nats_random_actions"] - nats["nats"]}
        if self.map_run is not None:
            random_nats = nats.pop("nats_random_actions_without_map")
            gaps["action_gap_without_map"] = random_nats - nats["nats_without_map"]
        return nats | gaps | self._held_out_outcome(model)

    def _held_out_outcome(self, model: Dynamics) -> dict[str, float]:
        """Return the heads' loss over the held-out clips; nothing without heads."""
        if self.outcomes is None or model.outcome is None:
            return {}
        codes, actions = (part.to(model.device) for part in self.held_out)
        recorded = self.outcomes.read(self.held_out_places).to(model.device)
        total = 0.0
        for i in range(len(codes)):
            features = model.features(codes[i : i + 1, :-1], actions[i : i + 1])
            total += model.outcome.loss(features.context, recorded[i : i + 1]).item()
        return {"outcome": total / len(codes)}

    def _held_out_nats(self, model: Dynamics, codes: Codes, actions: Actions, *, use_map: bool) -> float:
        expectation = None
        if use_map and self.map_run is not None:
            expectation = self.map_run.learned_map.follow(codes[:, :-1], actions)
        return model.loss(codes, actions, expectation=expectation, generator=torch.Generator()).nll.item()

    def sheet(self, model: nn.Module, path: Path) -> None:
        """Draw held-out clips in pairs of rows: the real frames' reconstructions, then context and imagined."""
        assert isinstance(model, Dynamics)
        codes, actions = (part[:: max(1, len(part) // SHEET_CLIPS)][:SHEET_CLIPS] for part in self.held_out)
        simulator = Simulator(self.tokenizer, model, None if self.map_run is None else self.map_run.learned_map)
        context = min(SHEET_CONTEXT, codes.shape[1] - 1)
        simulator.reset_codes(codes[:, :context].to(model.device), actions[:, : context - 1])
        simulator.seed(0)
        imagined = [simulator.step(actions[:, t]) for t in range(context - 1, actions.shape[1])]
        rows = torch.stack([codes, torch.cat([codes[:, :context], torch.stack(imagined, 1).cpu()], dim=1)], dim=1)
        with autocast(self.tokenizer.device):
            frames = self.tokenizer.decode(rows.flatten(0, 1).to(self.tokenizer.device))
        Image.fromarray(np.concatenate([np.concatenate(list(row), axis=1) for row in frames], axis=0)).save(path)

    def save(self, model: nn.Module, out: Path, metrics: dict[str, Any]) -> None:
        """Write the dynamics' checkpoint with tokenizer and learned map beside it, so that it is complete by itself."""
        assert isinstance(model, Dynamics)
        save_tokenizer(self.tokenizer, out / "tokenizer", self.tokenizer_metrics)
        if self.map_run is not None:
            self.map_run.save(out / LEARNED_MAP)
        config = to_dict(model.config) | {"tokenizer": self.fingerprints["tokenizer"]}
        metrics = metrics | {"data": self.fingerprints["data"], "env": self.env}
        write(out, Checkpoint(kind="dynamics", config=config, metrics=metrics, tensors=dict(model.state_dict())))


def train_dynamics(stage: DynamicsStage, training: TrainingConfig, out: Path, *, resume: bool = False) -> Progress:
    """Train the learned map in `out/learned_map`, if there is one to train, then the dynamics in `out`.

    Raises:
        ValueError, DivergedError, Interrupted: as `train` does.
    """
    map_run = stage.map_run
    if map_run is not None:
        stage.set_code_appearance()
    if map_run is not None and map_run.is_open:
        training = dataclasses.replace(training, minutes=training.minutes - map_run.training.minutes)
        if not has_state(out):
            train(map_run.stage(), map_run.training, out / LEARNED_MAP, resume=resume)
            resume = False
        map_run.load(out / LEARNED_MAP)
    return train(stage, training, out, resume=resume)
