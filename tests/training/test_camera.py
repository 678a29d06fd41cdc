"""The camera is found from codes and actions alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.models import tiny_dynamics
from worldmodel.training.camera import fit_camera
from worldmodel.types import NO_ACTION

WAYS = torch.tensor([[0, 0], [0, 1], [2, 0], [-2, 0]])  # where each action's view comes from, in codes (x, y)


class MovingWorld:
    """Clips of a wide random picture over which each action moves the view."""

    def __init__(self) -> None:
        self.training = self
        self.picture = torch.randint(16, (64, 64), generator=torch.Generator().manual_seed(3))

    def draw(self, rng: np.random.Generator, number: int) -> list[tuple[int, int]]:
        return [(int(seed), 0) for seed in rng.integers(10**6, size=number)]

    def read(self, places: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return codes (b 4 8 8) and actions (b 3)."""
        codes, actions = [], []
        for seed, _ in places:
            rng = np.random.default_rng(seed)
            told = rng.integers(4, size=3)
            x, y = (int(start) for start in rng.integers(20, 36, size=2))
            views = [self.picture[y : y + 8, x : x + 8]]
            for dx, dy in WAYS[told].tolist():
                x, y = x + dx, y + dy
                views.append(self.picture[y : y + 8, x : x + 8])
            codes.append(torch.stack(views))
            actions.append(torch.from_numpy(told))
        return torch.stack(codes), torch.stack(actions)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_camera_is_found_without_being_told(seed: int) -> None:
    """Each action moves the view its own way; where nobody said how, the fit finds out, the same way every time."""
    found = []
    for _ in range(2):
        dynamics = tiny_dynamics()
        motion = dynamics.context.motion
        for start in motion.camera.parameters():
            torch.nn.init.zeros_(start)
        fit_camera(dynamics, MovingWorld(), seed=seed, steps=150)  # type: ignore[arg-type]
        told = torch.stack([torch.full((4,), NO_ACTION), torch.arange(4).flip(0), torch.arange(4)], dim=1)
        found.append(motion.view(motion.history(told))[:, [5, 6, 9, 10]].mean(1).detach())
    assert (found[0] - WAYS).abs().max() < 0.5
    assert torch.equal(found[0], found[1])
