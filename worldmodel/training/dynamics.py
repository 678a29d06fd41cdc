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

from ..checkpoint import Checkpoint, load_weights, read, write
from ..config import DynamicsConfig, TrainingConfig, to_dict
from ..dynamics.belief import Outlook
from ..dynamics.model import Dynamics
from ..dynamics.samplers import make_sampler
from ..dynamics.sampling import gumbel_noise
from ..rollouts import POSE, EpisodeDataset
from ..runtime import autocast
from ..simulator import Simulator
from ..tokenizer.model import Tokenizer
from ..types import NO_ACTION, Actions, Codes, Report
from .belief import BeliefModel, BeliefStage, Poses, belief_training, halved
from .data import CodeClips, cached_codes, first_episodes, held_out_clips, split_episodes
from .ego_motion import key_steps
from .loop import Progress, train
from .motion import appearances, fit_motion, fit_steps
from .optimizer import prepare
from .outcome import OutcomeClips
from .state import has_state
from .tokenizer import save_tokenizer

BELIEF = "belief"  # the folder below a run's in which its belief is trained
LONGEST_DREAM = 6  # frames
MISPLACED = (0.003, 0.003, 0.006, 0.01)  # by so much are the views that a belief finds off, about
LOST, FARTHER = 0.1, 6.0  # in a share of clips by so many times more
HELD_OUT_CLIPS = 24
HELD_OUT_AT_ONCE = 4
SHEET_CONTEXT, SHEET_CLIPS = 4, 3

DEFAULTS = TrainingConfig(
    batch=1, clip=11, learning_rate=2e-3, muon_learning_rate=4e-3, weight_decay=0.01, minutes=60.0, ema_decay=0.998
)


class DynamicsStage:
    """What the loop needs to train the dynamics of a tokenizer's codes."""

    def __init__(
        self,
        dataset: EpisodeDataset,
        tokenizer: Tokenizer,
        config: DynamicsConfig,
        training: TrainingConfig,
        *,
        cache: Path,
        tokenizer_metrics: dict[str, Any],
    ) -> None:
        self.tokenizer = tokenizer
        self.tokenizer_metrics = tokenizer_metrics
        self.fingerprints = {"data": dataset.fingerprint, "tokenizer": tokenizer.fingerprint()}
        episodes = first_episodes(dataset, training.episodes)
        codes = cached_codes(dataset, tokenizer, directory=cache, episodes=episodes)
        self.batch = training.batch
        self.outcomes = OutcomeClips(dataset, clip=training.clip, episodes=episodes) if config.rewards else None
        self.clips = CodeClips(
            dataset, codes, clip=training.clip, episodes=episodes, last_steps=self.outcomes is not None
        )
        asked = held_out_clips(HELD_OUT_CLIPS, training.minutes)
        self.held_out_places = self.clips.held_out.spread(asked)
        self.held_out = self.clips.read(self.held_out_places)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            self.model = Dynamics(config, tokenizer.codebook.vectors)
        if config.cell * config.code_grid != tokenizer.config.frame_size:
            cell = tokenizer.config.frame_size // config.code_grid
            raise ValueError(f"cell must be {cell}, the pixels to a side of this tokenizer's codes, got {config.cell}")
        start = read(training.init, kind="dynamics").tensors if training.init else {}
        for own in ("code_vectors", "appearances"):  # those of this run's tokenizer stay
            start.pop(own, None)
        taken = prepare(self.model, training, start)
        # A motion or a belief that starts from another run's is known; one that is not to be trained stays as it is.
        motion = {
            f"context.motion.{name}": part
            for name, part in self.model.context.motion.named_parameters()
            if not name.startswith("expected.")  # how the belief is read is learnt with the rest
        }
        self.motion_is_open = not motion.keys() <= taken and all(part.requires_grad for part in motion.values())
        belief = {name for name, _ in self.model.named_parameters() if name.startswith("belief.")}
        # Whatever is trained: a belief that knows nothing misleads.
        self.belief_is_open = bool(belief) and (training.train_belief or not belief <= taken)
        self.training = training
        self.recent = CodeClips(dataset, codes, clip=config.action_history + 1, episodes=episodes)
        if self.belief_is_open:
            longest = min(int(dataset.lengths[part].max()) for part in split_episodes(episodes))
            self.belief_training = belief_training(training, longest=longest)
            clip = self.belief_training.clip
            self.belief_clips = CodeClips(dataset, codes, clip=clip, episodes=episodes)
        self.poses = None
        if self.belief_is_open or (belief and set(POSE) <= set(dataset.info.variables)):
            self.poses = Poses(dataset, episodes)
        if self.belief_is_open:
            assert self.model.belief is not None
            assert self.poses is not None
            self.ego_motion_is_open = "belief.ego_motion.pushes" not in taken
            if "belief.extent" not in taken:
                self.model.belief.settle(*self.poses.bounds())

    def begin(self, *, signals: Sequence[int], visible: bool) -> None:
        """Learn what codes look like, and how the view moves if the run does not start from a model that knows."""
        self.model.show(appearances(self.tokenizer, self.recent))
        steps = fit_steps(self.training) if self.motion_is_open else 0
        if steps:
            fit_motion(self.model, self.recent, seed=self.training.seed, steps=steps, signals=signals, visible=visible)

    def belief_stage(self) -> BeliefStage:
        """Return the stage that trains the belief of this run."""
        self.model.show(appearances(self.tokenizer, self.recent))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.training.seed)
            model = BeliefModel(self.model.config, self.model.code_vectors, self.model.appearances)
        assert self.model.belief is not None
        assert self.poses is not None
        model.belief.load_state_dict(self.model.belief.state_dict())
        steps = key_steps(self.belief_training) if self.ego_motion_is_open else 0
        return BeliefStage(
            self.belief_clips, self.poses, model, self.belief_training, self.fingerprints, fit_steps=steps
        )

    def take_belief(self, directory: Path) -> None:
        """Go on with a belief that is trained.

        Raises:
            ValueError: if there is none, or it is damaged or of other sizes.
        """
        assert self.model.belief is not None
        load_weights(self.model.belief, read(directory, kind="belief"), directory)

    def identity(self) -> dict[str, Any]:
        return {"model": self.model.config, **self.fingerprints}

    def losses(
        self, model: nn.Module, rng: np.random.Generator, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        places = self.clips.training.draw(rng, self.batch)
        codes, actions = (part.to(self.model.device) for part in self.clips.read(places))
        past, seen = codes[:, :-1], actions.shape[1]
        dreams = self.model.belief is not None and rng.random() < self.training.dreams
        if dreams:
            seen = max(1, seen - int(rng.integers(1, LONGEST_DREAM + 1)))
        outlook = self._outlook(places, past, seen, generator)
        if dreams:
            past = self.dream(past, actions, seen, outlook, generator)
        outcomes = self.outcomes.read(places).to(self.model.device) if self.outcomes else None
        losses = model(codes, actions, past, seen, outlook, generator=generator, outcomes=outcomes)
        parts = {"total": losses.total, "nats": losses.nll, "nats_alone": losses.alone, "motion": losses.motion}
        return parts | ({"outcome": losses.outcome} if outcomes else {})

    @torch.no_grad()
    def _outlook(
        self, places: Sequence[tuple[int, int]], past: Codes, seen: int, generator: torch.Generator
    ) -> Outlook | None:
        """Return the outlook on each frame but the first of clips, about as it is in use; None if nobody tells.

        A belief would find that out as well, but not as fast.
        """
        if self.model.belief is None or self.poses is None:
            return None
        poses = self.poses.read(places, self.clips.training.clip).to(self.model.device)
        numbers = torch.tensor([start for _, start in places]).unsqueeze(1) + torch.arange(1, self.clips.training.clip)
        views = self.model.belief.views(poses, numbers.to(poses.device))
        away = torch.randn(len(places), 1, 4, generator=generator) * torch.tensor(MISPLACED)
        lost = torch.rand(len(places), 1, 1, generator=generator) < LOST
        views = views + torch.where(lost, FARTHER * away, away).to(views.device)
        return self.model.belief.outlook(views, self.model.paint(past), seen)

    @torch.no_grad()
    def dream(
        self, past: Codes, actions: Actions, seen: int, outlook: Outlook | None, generator: torch.Generator
    ) -> Codes:
        """Return `past` (b t h w) in which only the first `seen` frames are real: the model draws the others itself.

        This is what it is given when it imagines. There its own frames drift, while the belief goes on from the last
        real one by the actions alone: on real pasts the dynamics would never learn to listen.
        """
        config, cache, sampler = self.model.config, self.model.new_cache(), make_sampler(self.model)
        frames = list(past[:, :seen].unbind(1))
        for t in range(past.shape[1] - 1):
            cache.imagined = t >= seen
            known = None if outlook is None else Outlook(*(part[:, t] for part in outlook))
            features = self.model.observe(frames[t], actions[:, t], cache, known)
            if t + 1 >= seen:
                shape = (len(past), config.num_patches, config.codes_per_patch, config.codebook_size)
                noise = gumbel_noise(shape, generator)
                frames.append(sampler.sample(features, noise, temperature=1.0, top_k=0))
        return torch.stack(frames, dim=1)

    def evaluate(self, model: nn.Module, report: Report) -> dict[str, float]:
        """Return nats per code over the held-out clips with the right, random and no actions.

        `action_gap` is what random actions cost: a world model begins when it opens.
        """
        assert isinstance(model, Dynamics)
        codes, actions = self.held_out
        random = torch.randint(
            len(model.config.action_names), actions.shape, generator=torch.Generator().manual_seed(0)
        )
        ways = {"nats": actions, "nats_random_actions": random, "nats_no_actions": torch.full_like(actions, NO_ACTION)}
        sums, done, generator = dict.fromkeys(ways, 0.0), 0, torch.Generator()
        for name, way in ways.items():
            for c, a in zip(codes.split(HELD_OUT_AT_ONCE), way.split(HELD_OUT_AT_ONCE), strict=True):
                losses = model.loss(c.to(model.device), a.to(model.device), generator=generator)
                sums[name] += losses.nll.item() * len(c)
                done += len(c)
                report(done, len(ways) * len(codes))
        nats = {name: total / len(codes) for name, total in sums.items()}
        return nats | {"action_gap": nats["nats_random_actions"] - nats["nats"]} | self._held_out_outcome(model)

    def _held_out_outcome(self, model: Dynamics) -> dict[str, float]:
        """Return the heads' loss over the held-out clips; nothing without heads."""
        if self.outcomes is None or model.outcome is None:
            return {}
        codes, actions = (part.to(model.device) for part in self.held_out)
        recorded = self.outcomes.read(self.held_out_places).to(model.device)
        total = 0.0
        for i in range(len(codes)):
            features = model.features(codes[i : i + 1, :-1], actions[i : i + 1])[..., : model.config.context_dim]
            total += model.outcome.loss(features, recorded[i : i + 1]).item()
        return {"outcome": total / len(codes)}

    def sheet(self, model: nn.Module, path: Path) -> None:
        """Draw held-out clips in pairs of rows: the real frames' reconstructions, then context and imagined."""
        assert isinstance(model, Dynamics)
        codes, actions = (part[:: max(1, len(part) // SHEET_CLIPS)][:SHEET_CLIPS] for part in self.held_out)
        simulator = Simulator(self.tokenizer, model)
        simulator.reset_codes(codes[:, :SHEET_CONTEXT].to(model.device), actions[:, : SHEET_CONTEXT - 1])
        simulator.seed(0)
        imagined = [simulator.step(actions[:, t]) for t in range(SHEET_CONTEXT - 1, actions.shape[1])]
        rows = torch.stack([codes, torch.cat([codes[:, :SHEET_CONTEXT], torch.stack(imagined, 1).cpu()], dim=1)], dim=1)
        with autocast(self.tokenizer.device):
            frames = self.tokenizer.decode(rows.flatten(0, 1).to(self.tokenizer.device))
        Image.fromarray(np.concatenate([np.concatenate(list(row), axis=1) for row in frames], axis=0)).save(path)

    def save(self, model: nn.Module, out: Path, metrics: dict[str, Any]) -> None:
        """Write the dynamics' checkpoint with its tokenizer beside it, so that it is complete by itself."""
        assert isinstance(model, Dynamics)
        save_tokenizer(self.tokenizer, out / "tokenizer", self.tokenizer_metrics)
        config = to_dict(model.config) | {"tokenizer": self.fingerprints["tokenizer"]}
        metrics = metrics | {"data": self.fingerprints["data"]}
        tensors = halved(model.state_dict())
        write(out, Checkpoint(kind="dynamics", config=config, metrics=metrics, tensors=tensors))


def train_dynamics(stage: DynamicsStage, training: TrainingConfig, out: Path, *, resume: bool = False) -> Progress:
    """Train the belief in `out/belief`, then all the rest in `out`; a belief that is known already stays as it is.

    Raises:
        ValueError, DivergedError, Interrupted: as `train` does.
    """
    if stage.belief_is_open:
        training = dataclasses.replace(training, minutes=training.minutes - stage.belief_training.minutes)
    if stage.belief_is_open and not has_state(out):
        train(stage.belief_stage(), stage.belief_training, out / BELIEF, resume=resume)
        stage.take_belief(out / BELIEF)
        resume = False
    return train(stage, training, out, resume=resume)
