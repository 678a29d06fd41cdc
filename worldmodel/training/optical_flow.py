"""Before the dynamics learns anything else: what codes look like, and the optical flow under each action.

Flow is learnt by gradient, which finds a match only nearby. So coarse images are compared at first, in which everything
is near, and finer ones one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

from ..config import TrainingConfig
from ..dynamics.model import Dynamics
from ..dynamics.optical_flow import LEVELS
from ..runtime import autocast
from ..tokenizer.model import Tokenizer
from ..types import UNKNOWN_ACTION
from .data import CodeClips, with_progress

BATCH = 8
CAMERA_RATE = 2e-2
READER_RATE = 3e-3
WARMUP = 30
ACTION_DROPOUT = 0.1  # clips without actions, and as many with the last action alone
APPEARANCE_FRAMES = 256  # from which the codes' looks are taken
STEPS_A_MINUTE = 40  # of training that follows: a tenth of its time at most


@torch.no_grad()
def code_appearance(tokenizer: Tokenizer, clips: CodeClips) -> Tensor:
    """Return what each code looks like: the mean colours of its place in decoded frames (k cell cell 3), in 0..1.

    A code that does not occur gets the mean of all.
    """
    codes = torch.cat([clips.read([place])[0] for place in clips.training.spread(APPEARANCE_FRAMES)])[:, :1]
    with autocast(tokenizer.device):
        frames = torch.from_numpy(tokenizer.decode(codes.to(tokenizer.device))).float() / 255
    count, cell = tokenizer.config.codebook_size, tokenizer.config.frame_size // tokenizer.config.code_grid
    places = frames.flatten(0, 1).unfold(1, cell, cell).unfold(2, cell, cell)  # (b h w 3 cell cell)
    colours, kinds = places.flatten(0, 2).movedim(1, -1), codes.flatten()
    sums = torch.zeros(count, cell, cell, 3).index_add_(0, kinds, colours)
    counts = torch.bincount(kinds, minlength=count).view(-1, 1, 1, 1)
    return torch.where(counts > 0, sums / counts.clamp(min=1), colours.mean(0))


def fit_steps(training: TrainingConfig) -> int:
    """Return how many steps to fit the flow before a run of so many minutes.

    It does not depend on the steps: a run that is made longer in steps equals one that was as long from the start.
    """
    return int(min(training.flow_steps, STEPS_A_MINUTE * training.minutes))


def fit_flow(
    model: Dynamics, clips: CodeClips, *, seed: int, steps: int, signals: Sequence[int] = (), visible: bool = False
) -> None:
    """Fit `model`'s optical flow, and the features of the warped frame, to clips of one frame more than the history.

    The codes are read off the features by a table that is thrown away afterwards.

    Args:
        model: changed in place; only the weights of its flow.
        clips: where to draw from.
        seed: of what is drawn.
        steps: of the optimizer.
        signals: those that came so far; one of them ends the fit.
        visible: whether to show the progress, on stderr.

    Raises:
        Stopped: when a signal came.
    """
    flow = model.context.flow
    camera = [flow.actions, flow.camera]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        read = nn.Linear(model.config.flow_dim, model.config.codebook_size).to(model.device)
    reader = [*flow.window.parameters(), *flow.read.parameters(), *read.parameters()]
    groups = [{"params": camera, "lr": CAMERA_RATE}, {"params": reader, "lr": READER_RATE}]
    optimizer = optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARMUP, 2 * (1 - step / steps))
    )
    rng = np.random.default_rng([seed, 1])
    for step in with_progress(range(steps), "fitting the optical flow", visible=visible, signals=signals):
        codes, actions = (part.to(model.device) for part in clips.read(clips.training.draw(rng, BATCH)))
        actions = F.pad(actions, (model.config.action_history - actions.shape[1], 0), value=UNKNOWN_ACTION)
        _drop(actions, rng)
        before, after = model.render(codes[:, -2:]).unbind(1)
        optimizer.zero_grad()
        with autocast(model.device):
            features, displacement = flow(before, actions)
            logits = read(features.unflatten(-1, (model.config.codes_per_patch, -1)))
        finest = LEVELS[::-1][min(len(LEVELS) - 1, 2 * len(LEVELS) * step // steps)]
        moved = flow.loss(displacement, before, after, finest=finest)
        nll = F.cross_entropy(logits.flatten(0, -2).float(), model.to_patches(codes[:, -1:]).flatten())
        (moved + nll).backward()
        optimizer.step()
        schedule.step()
    model.zero_grad(set_to_none=True)


def _drop(actions: Tensor, rng: np.random.Generator) -> None:
    """Drop the actions (b lags) of some clips, and those of some others but for the last."""
    chance = torch.from_numpy(rng.random(len(actions))).to(actions.device)
    actions[chance < 2 * ACTION_DROPOUT, :-1] = UNKNOWN_ACTION
    actions[chance < ACTION_DROPOUT] = UNKNOWN_ACTION
