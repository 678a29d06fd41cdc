"""Before the dynamics learns anything else: how the view moves under each action, from codes and actions alone.

Displacements are learnt by gradient, which finds a match only where it nearly looks already. So they are allowed to be
far off at first, and held to ever closer (deterministic annealing): what comes into view has no match, and would
otherwise pull the camera wherever something happens to look like it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn, optim

from ..dynamics.model import Dynamics
from ..dynamics.motion import Origins
from ..types import NO_ACTION
from .data import CodeClips

STEPS = 800
BATCH = 8
LEARNING_RATE = 2e-2
SPREADS = (4.0, 0.3)  # codes: how far displacements may be off, at first and in the end
FORGOTTEN = 0.1  # clips whose actions are not told, and as many of which only the last is


def fit_camera(model: Dynamics, clips: CodeClips, *, seed: int, steps: int = STEPS) -> None:
    """Fit the camera of `model`'s motion to clips of one frame more than the history of actions it is told."""
    motion = model.context.motion
    told = len(model.config.action_names) + 1
    shares = nn.Parameter(torch.zeros(told, model.config.num_patches, 3))
    parameters = [motion.actions, *motion.camera.parameters(), shares]
    optimizer = optim.Adam(parameters, lr=LEARNING_RATE, betas=(0.9, 0.95))
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2 * (1 - step / steps)))
    rng = np.random.default_rng([seed, 1])
    for step in range(steps):
        codes, actions = clips.read(clips.training.draw(rng, BATCH))
        chance = torch.from_numpy(rng.random(len(actions)))
        actions[chance < 2 * FORGOTTEN, :-1] = NO_ACTION
        actions[chance < FORGOTTEN] = NO_ACTION
        origins = Origins(motion.view(motion.history(actions)), shares[actions[:, -1]].log_softmax(-1))
        spread = SPREADS[0] * (SPREADS[1] / SPREADS[0]) ** (step / steps)
        before, after = model.vectors(codes[:, -2]), model.vectors(codes[:, -1])
        optimizer.zero_grad()
        motion.loss(origins, before, after, spread=spread).backward()
        optimizer.step()
        schedule.step()
    model.zero_grad(set_to_none=True)
