"""Before the dynamics: train its learned map, which has to see far more frames than a transformer sees in the time.

The recordings tell where the camera was. From that the motion model is fitted first (`training/motion_model.py`). Then
the map learns three things at once: to recognise places in single frames, many more than fit in a few clips; to find
the pose from the frames and actions of a clip; and what is seen from where. In use the pose is not given.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ..checkpoints.checkpoint import Checkpoint, write
from ..config import TrainingConfig, to_dict
from ..dynamics.expectation import Expectation
from ..dynamics.noise import add_context_noise, drop_actions
from ..learned_map.map import KIND, LearnedMap
from ..learned_map.motion_model import wrap_angle
from ..learned_map.place_recognition import two_hot_nll
from ..rollouts import POSE, EpisodeDataset
from ..types import UNKNOWN_ACTION, Actions, ActionsBetween, Codes, FrameCodes, Report
from .data import CodeClips, held_out_clips
from .motion_model import fit_motion_model

CLIPS, CLIP = 8, 17  # clips a step and process, and frames a clip
SINGLES = 96  # frames a step and process from anywhere
RAYS, ROWS = 12, 16  # columns that are rendered of each single frame, and blocks of each column
LEARNING_RATE = 1e-3
HELD_OUT_CLIPS, HELD_OUT_AT_ONCE = 24, 8
HELD_OUT_CONTEXT = 6  # frames seen before the imagined ones that are asked about
SHEET_CLIPS = 3
FIELD_GRIDS = ("field.density", "field.walls", "field.floor", "field.ceiling")
GREY, CONTRAST = 128, 48  # of a standardised colour in the sheet
VIEW_STD = (0.003, 0.003, 0.006, 0.01)  # of the views that the filter finds, about
LOST_SHARE, LOST_FACTOR = 0.1, 6.0  # clips in which they are so many times farther off


@dataclass(frozen=True)
class LearnedMapLosses:
    """What a training step of the map reports; `total` is what is minimised."""

    total: Tensor
    clips: Tensor  # nats of the pose of each frame of a clip, see `two_hot_nll`
    singles: Tensor  # the same of single frames
    rendered: Tensor  # squared error of single frames rendered from their pose, in standardised colours


class Poses:
    """Where the camera was in every frame of a data set.

    Args:
        dataset: whose variables tell it.
        episodes: take the first so many.

    Raises:
        ValueError: if they do not.
    """

    def __init__(self, dataset: EpisodeDataset, episodes: int) -> None:
        if missing := [name for name in POSE if name not in dataset.info.variables]:
            raise ValueError(
                f"{dataset.path} does not record {', '.join(missing)}: no map can learn where the camera is; "
                "add --set learned_map=no to train without"
            )
        try:
            variables = [dataset.variables(i) for i in range(episodes)]
        except ValueError as error:
            raise ValueError(f"{error}; record it again or add --set learned_map=no to train without") from error
        self.episodes = [np.stack([each[name] for name in POSE], axis=1).astype(np.float32) for each in variables]

    def read(self, places: Sequence[tuple[int, int]], frames: int, *, before: int = 0) -> Tensor:
        """Return x, y and angle of `frames` frames from each place (episode, first frame): (b t 3).

        So many more `before` them come first; what would be before an episode is its first, and after it its last.
        """
        window = np.arange(-before, frames)
        poses = [(self.episodes[e], start + window) for e, start in places]
        return torch.from_numpy(np.stack([each[rows.clip(0, len(each) - 1)] for each, rows in poses]))

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Return the least and the greatest x and y: (2) each."""
        every = torch.from_numpy(np.concatenate(self.episodes)[:, :2])
        return every.amin(0), every.amax(0)


class MapExpectations:
    """What a learned map expects of the frames of training clips, about as it would in use.

    Where poses are recorded the views are taken from them, misplaced as the filter's are: that is much quicker.
    """

    def __init__(self, learned_map: LearnedMap, poses: Poses | None) -> None:
        self.learned_map, self.poses = learned_map, poses

    @torch.no_grad()
    def __call__(
        self,
        places: Sequence[tuple[int, int]],
        past: Codes,
        actions: Actions,
        *,
        num_real: int | None,
        generator: torch.Generator,
    ) -> Expectation:
        """Return the expectations (b t) of the frames that follow each of `past` (b t h w) under `actions` (b t).

        Args:
            places: (episode, first frame) of each clip.
            past: real frames.
            actions: after each.
            num_real: see `ExpectationModel.follow`.
            generator: decides how far views are misplaced.
        """
        if self.poses is None:
            return self.learned_map.follow(past, actions, num_real=num_real)
        t = past.shape[1]
        poses = self.poses.read(places, t + 1).to(past.device)
        numbers = torch.tensor([start for _, start in places]).unsqueeze(1) + torch.arange(1, t + 1)
        views = self.learned_map.recorded_views(poses, numbers.to(past.device))
        away = torch.randn(len(places), 1, 4, generator=generator) * torch.tensor(VIEW_STD)
        lost = torch.rand(len(places), 1, 1, generator=generator) < LOST_SHARE
        views = views + torch.where(lost, LOST_FACTOR * away, away).to(views.device)
        errors = self.learned_map.recorded_errors(views, past, num_real=t if num_real is None else num_real)
        return self.learned_map.expect(views, errors, num_real=num_real)


class LearnedMapTrainer(nn.Module):
    """A learned map with what only its training needs."""

    def __init__(self, learned_map: LearnedMap) -> None:
        super().__init__()
        self.learned_map = learned_map
        dim = learned_map.config.memory_dim
        self.single = nn.Linear(dim, dim)  # recognises a single frame

    @property
    def device(self) -> torch.device:
        return self.learned_map.device

    def forward(
        self,
        codes: Codes,
        actions: ActionsBetween,
        poses: Tensor,
        single_codes: FrameCodes,
        single_poses: Tensor,
        numbers: Tensor,
        *,
        generator: torch.Generator,
    ) -> LearnedMapLosses:
        """Return how badly the map tells where frames are seen from, and what is seen from there.

        `generator`, on the CPU, decides which codes are noise, which actions are dropped, and what is rendered.

        Args:
            codes: (b t h w), of clips.
            actions: (b t-1), between them.
            poses: (b t 3), in the game's units.
            single_codes: (m h w), of frames from anywhere.
            single_poses: (m 2 3), of the frame before each and of itself.
            numbers: (m), how many frames of the episode come before each.
        """
        learned_map, recognition = self.learned_map, self.learned_map.recognition
        noisy = self._noisy(codes, generator)
        kept = drop_actions(actions, rate=learned_map.config.action_dropout, generator=generator)
        memories = self.memories(noisy, kept).flatten(0, 1)
        single_noisy = self._noisy(single_codes.unsqueeze(1), generator).squeeze(1)
        embedded = recognition.embed(learned_map.vectors(single_noisy))
        clips = two_hot_nll(recognition.locate(memories), learned_map.to_map(poses.flatten(0, 1)))
        single_logits = recognition.locate(F.relu(self.single(embedded)))
        singles = two_hot_nll(single_logits, learned_map.to_map(single_poses[:, 1]))
        views = learned_map.recorded_views(single_poses, numbers.unsqueeze(1)).squeeze(1)
        rendered = self._rendering_error(single_codes, views, generator)
        total = clips + singles + rendered
        return LearnedMapLosses(total, clips.detach(), singles.detach(), rendered.detach())

    def _noisy(self, codes: Codes, generator: torch.Generator) -> Codes:
        config = self.learned_map.config
        return add_context_noise(
            codes, codebook_size=config.codebook_size, max_rate=config.max_context_noise, generator=generator
        )[0]

    def _rendering_error(self, codes: FrameCodes, views: Tensor, generator: torch.Generator) -> Tensor:
        """Return the error of rendering some blocks of frames with `codes` (m h w) from views (m 4)."""
        field = self.learned_map.field
        columns = torch.randint(field.columns, (len(codes), RAYS), generator=generator)
        rows = torch.randint(field.rows, (*columns.shape, ROWS), generator=generator)
        columns, rows = columns.to(codes.device), rows.to(codes.device)
        cell = self.learned_map.config.code_pixels // field.block  # blocks to a side of a code
        frame = torch.arange(len(codes), device=codes.device)[:, None, None]
        shown = codes[frame, rows // cell, (columns // cell).unsqueeze(-1)]
        appearance = self.learned_map.code_appearance
        looks = rearrange(appearance, "k c (y i) (x j) -> k y x (c i j)", i=field.block, j=field.block)
        real = looks[shown, rows % cell, (columns % cell).unsqueeze(-1)]
        return F.mse_loss(field(views, columns, rows, generator=generator), real)

    def memories(self, codes: Codes, actions: ActionsBetween) -> Tensor:
        """Return place recognition's memory (b t d) after each of `codes` (b t h w), with `actions` (b t-1) between."""
        before = F.pad(actions, (1, 0), value=UNKNOWN_ACTION)
        memories: Tensor = self.learned_map.recognition(self.learned_map.vectors(codes), before)
        return memories

    @torch.no_grad()
    def views(self, past: Codes, actions: Actions, *, num_real: int) -> Tensor:
        """Return from where the frame after each of `past` (b t h w) is seen, after looks at the first `num_real`."""
        views, state = [], None
        for t in range(actions.shape[1]):
            state = self.learned_map.update(state, past[:, t]) if t < num_real else state
            assert state is not None
            state = self.learned_map.predict(state, actions[:, t])
            views.append(state.particles.views[:, 0])
        return torch.stack(views, dim=1)

    def misplaced(self, views: Tensor, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far views (b t 4) are from true poses (b t 3), in the game's units and degrees: (b t)."""
        away = views[..., :3] - self.learned_map.to_map(poses)
        distances, turns = away[..., :2].norm(dim=-1), wrap_angle(away[..., 2])
        return distances * self.learned_map.extent, turns.abs() * (180 / math.pi)


class LearnedMapStage:
    """What the loop needs to train a learned map.

    Args:
        clips: of `training.clip` frames.
        poses: of all frames.
        learned_map: whose bounds and codes are set.
        training: how.
        fingerprints: of the data and the tokenizer.
        fit_steps: before the first step of the loop, so many to fit the motion model; 0 if it is known.
    """

    def __init__(
        self,
        clips: CodeClips,
        poses: Poses,
        learned_map: LearnedMap,
        training: TrainingConfig,
        fingerprints: dict[str, str],
        *,
        fit_steps: int,
    ) -> None:
        self.clips, self.poses, self.fingerprints = clips, poses, fingerprints
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            self.model = LearnedMapTrainer(learned_map)
        self.batch, self.clip, self.seed, self.fit_steps = training.batch, training.clip, training.seed, fit_steps
        places = clips.held_out.spread(held_out_clips(HELD_OUT_CLIPS, training.minutes))
        self.held_out = (*clips.read(places), poses.read(places, training.clip))

    def begin(self, *, signals: Sequence[int], visible: bool) -> None:
        """Fit the motion model, if the run does not start from a map that has one."""
        if not self.fit_steps:
            return
        episodes, learned_map = self.clips.training.episodes, self.model.learned_map
        tracks = [learned_map.to_map(torch.from_numpy(self.poses.episodes[e])) for e in episodes]
        actions = [self.clips.actions[e] for e in episodes]
        fit_motion_model(
            learned_map.motion_model,
            tracks,
            actions,
            seed=self.seed,
            steps=self.fit_steps,
            signals=signals,
            visible=visible,
        )

    def identity(self) -> dict[str, Any]:
        return {"model": self.model.learned_map.config, **self.fingerprints}

    def losses(
        self, model: nn.Module, rng: np.random.Generator, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        places, singles = (self.clips.training.draw(rng, number) for number in (self.batch, SINGLES))
        inputs = (
            *self.clips.read(places),
            self.poses.read(places, self.clip),
            self.clips.read(singles, frames=1)[0].squeeze(1),
            self.poses.read(singles, 1, before=1),
            torch.tensor([start for _, start in singles]),
        )
        losses = model(*(each.to(self.model.device) for each in inputs), generator=generator)
        return dict(vars(losses))

    def evaluate(self, model: nn.Module, report: Report) -> dict[str, float]:
        """Return held-out errors of the rendered images: of the next frame, and of the last of an imagined stretch.

        Beside each, the error of holding the last frame that was seen, and by how much the median clip is misplaced,
        in the game's units and degrees.
        """
        assert isinstance(model, LearnedMapTrainer)
        learned_map = model.learned_map
        learned_map.field.build_occupancy()
        figures: dict[str, list[Tensor]] = {}
        done, total = 0, len(self.held_out[0])
        for batch in zip(*(part.split(HELD_OUT_AT_ONCE) for part in self.held_out), strict=True):
            codes, actions, poses = (part.to(model.device) for part in batch)
            past, images = codes[:, :-1], learned_map.images(codes)
            last = min(HELD_OUT_CONTEXT, actions.shape[1]) - 1
            next_views = model.views(past, actions, num_real=actions.shape[1])[:, last:]
            blind = model.views(past, actions, num_real=last + 1)[:, -1:]
            rows = {
                "error_next": (learned_map.render(next_views) - images[:, last + 1 :]).square().mean((1, 2, 3, 4)),
                "error_next_copied": (images[:, last:-1] - images[:, last + 1 :]).square().mean((1, 2, 3, 4)),
                "error_imagined": (learned_map.render(blind) - images[:, -1:]).square().mean((1, 2, 3, 4)),
                "error_imagined_copied": (images[:, last] - images[:, -1]).square().mean((1, 2, 3)),
            }
            for name, views in (("next", next_views[:, -1:]), ("imagined", blind)):
                distances, angles = model.misplaced(views, poses[:, -1:])
                rows |= {f"median_distance_{name}": distances[:, 0], f"median_angle_{name}": angles[:, 0]}
            for name, values in rows.items():
                figures.setdefault(name, []).append(values)
            done += len(codes)
            report(done, total)
        every = {name: torch.cat(values) for name, values in figures.items()}
        return {name: float(v.median() if name.startswith("median") else v.mean()) for name, v in every.items()}

    def sheet(self, model: nn.Module, path: Path) -> None:
        """Draw held-out clips in pairs of rows: what comes, as its codes look, and what is expected."""
        assert isinstance(model, LearnedMapTrainer)
        codes, actions = (
            part[:: max(1, len(part) // SHEET_CLIPS)][:SHEET_CLIPS].to(model.device) for part in self.held_out[:2]
        )
        expected = model.learned_map.render(model.views(codes[:, :-1], actions, num_real=HELD_OUT_CONTEXT))
        pairs = torch.stack([model.learned_map.images(codes[:, 1:]), expected], dim=1)
        colours = rearrange(pairs, "b two t c h w -> (b two h) (t w) c") * CONTRAST + GREY
        Image.fromarray(colours.clamp(0, 255).to(torch.uint8).cpu().numpy()).save(path)

    def save(self, model: nn.Module, out: Path, metrics: dict[str, Any]) -> None:
        """Write the map's checkpoint."""
        assert isinstance(model, LearnedMapTrainer)
        metrics = metrics | {"data": self.fingerprints["data"]}
        save_learned_map(model.learned_map, out, metrics, tokenizer=self.fingerprints["tokenizer"])


def save_learned_map(learned_map: LearnedMap, out: Path, metrics: dict[str, Any], *, tokenizer: str) -> None:
    """Write the checkpoint of a learned map of the codes of a tokenizer with that fingerprint."""
    config = to_dict(learned_map.config) | {"tokenizer": tokenizer}
    tensors = halved(learned_map.state_dict())
    write(out, Checkpoint(kind=KIND, config=config, metrics=metrics, tensors=tensors))


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a map's tensors as they are saved: the large grids of the radiance field in half precision."""
    return {name: tensor.half() if name.endswith(FIELD_GRIDS) else tensor for name, tensor in tensors.items()}


def map_training(training: TrainingConfig, *, longest: int) -> TrainingConfig:
    """Return how the map of a run is trained: for a share of its minutes, and at most as many steps.

    No clip is longer than `longest` frames, those of the longest episode.
    """
    return dataclasses.replace(
        training,
        steps=min(training.steps, training.map_steps),
        minutes=training.minutes * training.map_share,
        batch=CLIPS,
        clip=min(CLIP, longest),
        init="",
        init_only="",
        trained="",
        learning_rate=LEARNING_RATE,
        muon_learning_rate=0.0,
        cooldown=0.5,
        compile=False,  # its steps are few and its networks small: compiling takes longer than it saves
    )
