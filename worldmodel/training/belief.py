"""Before the dynamics: train its belief, which has to have seen much more than a transformer sees in the same time.

Only codes and actions teach it. It looks at the codes of a clip and paints what comes next; in half of the clips it is
blind from some frame on, so that it learns where the actions lead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
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
from ..dynamics.belief import Belief
from ..dynamics.model import corrupt, forget
from ..dynamics.motion import paint
from ..types import ActionsBetween, Codes
from .data import CodeClips

CLIPS, CLIP = 8, 17  # clips a step and process, and frames a clip
LEARNING_RATE = 1e-3
BLIND = 0.5  # of the clips: nothing is seen from some frame on
FIRST_BLIND = 3  # frames that are seen at least
HELD_OUT_CLIPS, HELD_OUT_AT_ONCE = 48, 8
HELD_OUT_CONTEXT = 6  # frames seen before the blind ones that are asked about
SHEET_CLIPS = 3
GREY, CONTRAST = 128, 48  # of a standardised colour in the sheet


@dataclass(frozen=True)
class BeliefLosses:
    """What a training step of the belief reports; `total` is what is minimised."""

    total: Tensor  # mean squared error of the paintings in standardised colours: the mean colour's is 1


class BeliefModel(nn.Module):
    """A belief with what it has to know of codes: their vectors (k c) and what they look like (k 3 cell cell)."""

    code_vectors: Tensor
    appearances: Tensor

    def __init__(self, config: DynamicsConfig, code_vectors: Tensor, appearances: Tensor) -> None:
        super().__init__()
        self.config = config
        self.belief = Belief(config)
        self.register_buffer("code_vectors", code_vectors.clone())
        self.register_buffer("appearances", appearances.clone())

    @property
    def device(self) -> torch.device:
        return self.code_vectors.device

    def forward(self, codes: Codes, actions: ActionsBetween, *, generator: torch.Generator) -> BeliefLosses:
        """Return the error of painting each frame of `codes` (b t h w) but the first, under `actions` (b t-1).

        `generator`, on the CPU, decides which codes are replaced, which clips lose their actions, and who is blind.
        """
        b, t = actions.shape
        past, _ = corrupt(codes[:, :-1], self.config, generator)
        actions = forget(actions, self.config, generator)
        seen = torch.randint(min(FIRST_BLIND, t), t + 1, (b,), generator=generator)
        seen[torch.rand(b, generator=generator) >= BLIND] = t
        return BeliefLosses(self.errors(codes, past, actions, seen.to(codes.device)).mean())

    def errors(self, codes: Codes, past: Codes, actions: ActionsBetween, seen: Tensor) -> Tensor:
        """Return the mean squared error of each expected painting (b t-1), if the first `seen` (b) frames are seen."""
        expected = self.expect(past, actions, seen)
        return (expected - paint(codes[:, 1:], self.appearances)).square().mean((2, 3, 4))

    def expect(self, past: Codes, actions: ActionsBetween, seen: Tensor) -> Tensor:
        """Return the paintings (b t 3 H W) expected after each of `past` (b t h w), of which `seen` (b) are seen."""
        sighted = torch.arange(past.shape[1], device=past.device) < seen.unsqueeze(1)
        beliefs = self.belief(F.embedding(past, self.code_vectors), actions, sighted)
        return self.belief.paint(beliefs.flatten(0, 1)).unflatten(0, actions.shape)


class BeliefStage:
    """What the loop needs to train a belief.

    Args:
        clips: of `training.clip` frames.
        model: a belief that nothing has taught yet.
        training: how.
        fingerprints: of the data and the tokenizer.
    """

    def __init__(
        self, clips: CodeClips, model: BeliefModel, training: TrainingConfig, fingerprints: dict[str, str]
    ) -> None:
        self.clips, self.model, self.fingerprints = clips, model, fingerprints
        self.batch = training.batch
        self.held_out = clips.read(clips.held_out.spread(HELD_OUT_CLIPS))

    def begin(self, *, signals: Sequence[int], visible: bool) -> None:
        """There is nothing to do before the first step."""

    def identity(self) -> dict[str, Any]:
        return {"model": self.model.config, **self.fingerprints}

    def losses(
        self, model: nn.Module, rng: np.random.Generator, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        codes, actions = self.clips.read(self.clips.training.draw(rng, self.batch))
        device = self.model.device
        return {"total": model(codes.to(device), actions.to(device), generator=generator).total}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return held-out errors of the expected paintings: of the next one, and of the last of a blind stretch.

        Beside each, the error of holding the last frame that was seen.
        """
        assert isinstance(model, BeliefModel)
        figures: dict[str, list[Tensor]] = {}
        for codes, actions in zip(*(part.split(HELD_OUT_AT_ONCE) for part in self.held_out), strict=True):
            codes, actions = codes.to(model.device), actions.to(model.device)
            paintings = paint(codes, model.appearances)
            last = min(HELD_OUT_CONTEXT, actions.shape[1]) - 1
            blind = self._errors(model, codes, actions, seen=last + 1)[:, -1]
            rows = {
                "error_next": self._errors(model, codes, actions, seen=actions.shape[1])[:, last:].mean(1),
                "error_next_copied": (paintings[:, last:-1] - paintings[:, last + 1 :]).square().mean((1, 2, 3, 4)),
                "error_blind": blind,
                "error_blind_copied": (paintings[:, last] - paintings[:, -1]).square().mean((1, 2, 3)),
            }
            for name, values in rows.items():
                figures.setdefault(name, []).append(values)
        return {name: float(torch.cat(values).mean()) for name, values in figures.items()}

    def _errors(self, model: BeliefModel, codes: Tensor, actions: Tensor, *, seen: int) -> Tensor:
        return model.errors(codes, codes[:, :-1], actions, torch.full((len(codes),), seen, device=codes.device))

    def sheet(self, model: nn.Module, path: Path) -> None:
        """Draw held-out clips in pairs of rows: what comes, as its codes look, and what is expected, blind at last."""
        assert isinstance(model, BeliefModel)
        codes, actions = (
            part[:: max(1, len(part) // SHEET_CLIPS)][:SHEET_CLIPS].to(model.device) for part in self.held_out
        )
        seen = torch.full((len(codes),), HELD_OUT_CONTEXT, device=codes.device)
        pairs = torch.stack([paint(codes[:, 1:], model.appearances), model.expect(codes[:, :-1], actions, seen)], dim=1)
        colours = rearrange(pairs, "b two t c h w -> (b two h) (t w) c") * CONTRAST + GREY
        Image.fromarray(colours.clamp(0, 255).to(torch.uint8).cpu().numpy()).save(path)

    def save(self, model: nn.Module, out: Path, metrics: dict[str, Any]) -> None:
        """Write the belief's checkpoint."""
        assert isinstance(model, BeliefModel)
        config = to_dict(model.config) | {"tokenizer": self.fingerprints["tokenizer"]}
        metrics = metrics | {"data": self.fingerprints["data"]}
        write(out, Checkpoint(kind="belief", config=config, metrics=metrics, tensors=dict(model.belief.state_dict())))


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
