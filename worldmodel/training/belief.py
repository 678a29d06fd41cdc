"""Before the dynamics: train its belief, which has to have seen much more than a transformer sees in the same time.

The recordings tell where the camera was. From that it is fitted first how the camera moves (`training/ego_motion.py`).
Then the belief learns three things at once: to recognise places in single frames, many more than fit in a few clips; to
find out where it is from the frames and actions of a clip; and what is seen from where. Where the camera really was is
told to nobody afterwards.
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

from ..checkpoint import Checkpoint, write
from ..config import DynamicsConfig, TrainingConfig, to_dict
from ..dynamics.belief import Belief, Memory
from ..dynamics.ego_motion import shorter_turn
from ..dynamics.localisation import unlikelihood
from ..dynamics.model import corrupt, forget
from ..dynamics.motion import paint
from ..rollouts import POSE, EpisodeDataset
from ..types import NO_ACTION, ActionsBetween, Codes, FrameCodes, Report
from .data import CodeClips, held_out_clips
from .ego_motion import fit_ego_motion

CLIPS, CLIP = 8, 17  # clips a step and process, and frames a clip
SINGLES = 96  # frames a step and process from anywhere
RAYS, ROWS = 12, 16  # columns that are painted of each single frame, and blocks of each column
LEARNING_RATE = 1e-3
HELD_OUT_CLIPS, HELD_OUT_AT_ONCE = 24, 8
HELD_OUT_CONTEXT = 6  # frames seen before the blind ones that are asked about
SHEET_CLIPS = 3
FIELD_GRIDS = ("field.density", "field.walls", "field.floor", "field.ceiling")
GREY, CONTRAST = 128, 48  # of a standardised colour in the sheet


@dataclass(frozen=True)
class BeliefLosses:
    """What a training step of the belief reports; `total` is what is minimised."""

    total: Tensor
    clips: Tensor  # nats of where each frame of a clip is seen from, see `unlikelihood`
    singles: Tensor  # the same of single frames
    painted: Tensor  # squared error of single frames' paintings from where they are, in standardised colours


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
                f"{dataset.path} does not tell {', '.join(missing)}: no belief can learn where the camera is; "
                "add --set pose=false to train without"
            )
        variables = (dataset.variables(i) for i in range(episodes))
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


class BeliefModel(nn.Module):
    """A belief with what it has to know of codes: their vectors (k c) and what they look like (k 3 cell cell)."""

    code_vectors: Tensor
    appearances: Tensor

    def __init__(self, config: DynamicsConfig, code_vectors: Tensor, appearances: Tensor) -> None:
        super().__init__()
        self.config = config
        self.belief = Belief(config)
        self.recognise = nn.Linear(config.belief_dim, config.belief_dim)  # a single frame, for training alone
        self.register_buffer("code_vectors", code_vectors.clone())
        self.register_buffer("appearances", appearances.clone())

    @property
    def device(self) -> torch.device:
        return self.code_vectors.device

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
    ) -> BeliefLosses:
        """Return how badly the belief tells where frames are seen from, and what is seen from there.

        `generator`, on the CPU, decides which codes are replaced, what is not told, and what is painted.

        Args:
            codes: (b t h w), of clips.
            actions: (b t-1), between them.
            poses: (b t 3), in the game's units.
            single_codes: (m h w), of frames from anywhere.
            single_poses: (m 2 3), of the frame before each and of itself.
            numbers: (m), how many frames of the episode come before each.
        """
        seen, _ = corrupt(codes, self.config, generator)
        beliefs = self.believe(seen, forget(actions, self.config, generator)).flatten(0, 1)
        single_past, _ = corrupt(single_codes.unsqueeze(1), self.config, generator)
        looks = self.belief.look(F.embedding(single_past.squeeze(1), self.code_vectors))
        clips = unlikelihood(self.belief.locate(beliefs), self.belief.to_map(poses.flatten(0, 1)))
        single_where = self.belief.locate(F.relu(self.recognise(looks)))
        singles = unlikelihood(single_where, self.belief.to_map(single_poses[:, 1]))
        views = self.belief.views(single_poses, numbers.unsqueeze(1)).squeeze(1)
        painted = self._painted(single_codes, views, generator)
        total = clips + singles + painted
        return BeliefLosses(total, clips.detach(), singles.detach(), painted.detach())

    def _painted(self, codes: FrameCodes, views: Tensor, generator: torch.Generator) -> Tensor:
        """Return the error of painting some blocks of frames with `codes` (m h w) from views (m 4)."""
        field = self.belief.field
        columns = torch.randint(field.columns, (len(codes), RAYS), generator=generator)
        rows = torch.randint(field.rows, (*columns.shape, ROWS), generator=generator)
        columns, rows = columns.to(codes.device), rows.to(codes.device)
        cell = self.config.cell // field.block  # blocks to a side of a code
        frame = torch.arange(len(codes), device=codes.device)[:, None, None]
        shown = codes[frame, rows // cell, (columns // cell).unsqueeze(-1)]
        looks = rearrange(self.appearances, "k c (y i) (x j) -> k y x (c i j)", i=field.block, j=field.block)
        real = looks[shown, rows % cell, (columns % cell).unsqueeze(-1)]
        return F.mse_loss(field(views, columns, rows, generator=generator), real)

    def believe(self, codes: Codes, actions: ActionsBetween) -> Tensor:
        """Return what is believed (b t d) after each of `codes` (b t h w), with `actions` (b t-1) between them."""
        before = F.pad(actions, (1, 0), value=NO_ACTION)
        beliefs: Tensor = self.belief(F.embedding(codes, self.code_vectors), before)
        return beliefs

    @torch.no_grad()
    def views(self, past: Codes, actions: ActionsBetween, seen: int) -> Tensor:
        """Return from where the frame after each of `past` (b t h w) is seen, if `seen` of them are looked at."""
        vectors, paintings = F.embedding(past, self.code_vectors), paint(past, self.appearances)
        return self.belief.follow(vectors, paintings, actions, Memory(), seen=seen).views

    def misplaced(self, views: Tensor, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far views (b t 4) are from true poses (b t 3), in the game's units and degrees: (b t)."""
        away = views[..., :3] - self.belief.to_map(poses)
        distances, turns = away[..., :2].norm(dim=-1), shorter_turn(away[..., 2])
        return distances * self.belief.extent, turns.abs() * (180 / math.pi)


class BeliefStage:
    """What the loop needs to train a belief.

    Args:
        clips: of `training.clip` frames.
        poses: of all frames.
        model: a belief, which has settled on a map.
        training: how.
        fingerprints: of the data and the tokenizer.
        fit_steps: before the first step of the loop, so many to learn how the camera moves; 0 if that is known.
    """

    def __init__(
        self,
        clips: CodeClips,
        poses: Poses,
        model: BeliefModel,
        training: TrainingConfig,
        fingerprints: dict[str, str],
        *,
        fit_steps: int,
    ) -> None:
        self.clips, self.poses, self.model, self.fingerprints = clips, poses, model, fingerprints
        self.batch, self.clip, self.seed, self.fit_steps = training.batch, training.clip, training.seed, fit_steps
        places = clips.held_out.spread(held_out_clips(HELD_OUT_CLIPS, training.minutes))
        self.held_out = (*clips.read(places), poses.read(places, training.clip))

    def begin(self, *, signals: Sequence[int], visible: bool) -> None:
        """Learn how the camera moves, if the run does not start from a belief that knows."""
        if not self.fit_steps:
            return
        episodes, ego_motion = self.clips.training.episodes, self.model.belief.ego_motion
        tracks = [self.model.belief.to_map(torch.from_numpy(self.poses.episodes[e])) for e in episodes]
        actions = [self.clips.actions[e] for e in episodes]
        fit_ego_motion(
            ego_motion, tracks, actions, seed=self.seed, steps=self.fit_steps, signals=signals, visible=visible
        )

    def identity(self) -> dict[str, Any]:
        return {"model": self.model.config, **self.fingerprints}

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
        """Return held-out errors of the expected paintings: of the next one, and of the last of a blind stretch.

        Beside each, the error of holding the last frame that was seen, and by how much the median clip is misplaced,
        in the game's units and degrees.
        """
        assert isinstance(model, BeliefModel)
        model.belief.field.explore()
        figures: dict[str, list[Tensor]] = {}
        done, total = 0, len(self.held_out[0])
        for batch in zip(*(part.split(HELD_OUT_AT_ONCE) for part in self.held_out), strict=True):
            codes, actions, poses = (part.to(model.device) for part in batch)
            past, paintings = codes[:, :-1], paint(codes, model.appearances)
            last = min(HELD_OUT_CONTEXT, actions.shape[1]) - 1
            next_views = model.views(past, actions, actions.shape[1])[:, last:]
            blind = model.views(past, actions, last + 1)[:, -1:]
            rows = {
                "error_next": (model.belief.paint(next_views) - paintings[:, last + 1 :]).square().mean((1, 2, 3, 4)),
                "error_next_copied": (paintings[:, last:-1] - paintings[:, last + 1 :]).square().mean((1, 2, 3, 4)),
                "error_blind": (model.belief.paint(blind) - paintings[:, -1:]).square().mean((1, 2, 3, 4)),
                "error_blind_copied": (paintings[:, last] - paintings[:, -1]).square().mean((1, 2, 3)),
            }
            for name, views in (("next", next_views[:, -1:]), ("blind", blind)):
                distances, angles = model.misplaced(views, poses[:, -1:])
                rows |= {f"median_distance_{name}": distances[:, 0], f"median_angle_{name}": angles[:, 0]}
            for name, values in rows.items():
                figures.setdefault(name, []).append(values)
            done += len(codes)
            report(done, total)
        every = {name: torch.cat(values) for name, values in figures.items()}
        return {name: float(v.median() if name.startswith("median") else v.mean()) for name, v in every.items()}

    def sheet(self, model: nn.Module, path: Path) -> None:
        """Draw held-out clips in pairs of rows: what comes, as its codes look, and what is expected, blind at last."""
        assert isinstance(model, BeliefModel)
        codes, actions = (
            part[:: max(1, len(part) // SHEET_CLIPS)][:SHEET_CLIPS].to(model.device) for part in self.held_out[:2]
        )
        expected = model.belief.paint(model.views(codes[:, :-1], actions, HELD_OUT_CONTEXT))
        pairs = torch.stack([paint(codes[:, 1:], model.appearances), expected], dim=1)
        colours = rearrange(pairs, "b two t c h w -> (b two h) (t w) c") * CONTRAST + GREY
        Image.fromarray(colours.clamp(0, 255).to(torch.uint8).cpu().numpy()).save(path)

    def save(self, model: nn.Module, out: Path, metrics: dict[str, Any]) -> None:
        """Write the belief's checkpoint."""
        assert isinstance(model, BeliefModel)
        config = to_dict(model.config) | {"tokenizer": self.fingerprints["tokenizer"]}
        metrics = metrics | {"data": self.fingerprints["data"]}
        write(out, Checkpoint(kind="belief", config=config, metrics=metrics, tensors=halved(model.belief.state_dict())))


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a model's tensors as they are saved: the large grids of the radiance field in half precision."""
    return {name: tensor.half() if name.endswith(FIELD_GRIDS) else tensor for name, tensor in tensors.items()}


def belief_training(training: TrainingConfig, *, longest: int) -> TrainingConfig:
    """Return how the belief of a run is trained: for a share of its minutes, and at most as many steps.

    No clip is longer than `longest` frames, those of the longest episode.
    """
    return dataclasses.replace(
        training,
        steps=min(training.steps, training.belief_steps),
        minutes=training.minutes * training.belief_share,
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
