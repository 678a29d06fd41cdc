"""Optical flow is fitted to codes and actions alone, before the first step."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.models import tiny_dynamics, tiny_tokenizer
from worldmodel.training.dynamics import DEFAULTS
from worldmodel.training.optical_flow import code_appearance, fit_flow, fit_steps

WAYS = torch.tensor([[0, 0], [0, 1], [2, 0], [-2, 0]])  # where each action's view comes from, in codes (x, y)
CELL = 4


class MovingWorld:
    """Clips of a wide picture of codes over which each action moves the view."""

    def __init__(self) -> None:
        self.training = self
        # Neighbours are alike, as in pictures: what is nothing but noise has no coarse version.
        coarse = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(3))
        wide = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear")[0, 0]
        self.picture = (16 * (wide - wide.min()) / (wide.max() - wide.min() + 1e-3)).long()

    def draw(self, rng: np.random.Generator, number: int) -> list[tuple[int, int]]:
        return [(int(seed), 0) for seed in rng.integers(10**6, size=number)]

    def spread(self, number: int) -> list[tuple[int, int]]:
        return self.draw(np.random.default_rng(0), number)

    def read(self, places: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return codes (b 5 8 8) and actions (b 4)."""
        codes, actions = [], []
        for seed, _ in places:
            rng = np.random.default_rng(seed)
            pressed = rng.integers(4, size=4)
            x, y = (int(start) for start in rng.integers(20, 36, size=2))
            views = [self.picture[y : y + 8, x : x + 8]]
            for dx, dy in WAYS[pressed].tolist():
                x, y = x + dx, y + dy
                views.append(self.picture[y : y + 8, x : x + 8])
            codes.append(torch.stack(views))
            actions.append(torch.from_numpy(pressed))
        return torch.stack(codes), torch.stack(actions)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_flow_is_found_from_codes_and_actions(seed: int) -> None:
    """Each action moves the view its own way; the fit finds out how, the same way every time."""
    found = []
    for _ in range(2):
        dynamics = tiny_dynamics()
        grey = torch.linspace(0, 1, 16).view(16, 1, 1, 1).expand(16, CELL, CELL, 3)
        dynamics.set_code_appearance(
            grey + 0.01 * torch.rand(16, CELL, CELL, 3, generator=torch.Generator().manual_seed(0))
        )
        flow = dynamics.context.flow
        with torch.no_grad():
            flow.camera.zero_()
        fit_flow(dynamics, MovingWorld(), seed=seed, steps=240)  # type: ignore[arg-type]
        pressed = torch.arange(4).view(4, 1).expand(4, 4)
        found.append(flow.displacement(pressed)[:, :, 12:20, 12:20].mean((2, 3)).detach() * (8 / 2))  # in codes
    assert (found[0] - WAYS).abs().max() < 0.5
    assert torch.equal(found[0], found[1])


def test_a_signal_ends_the_fit() -> None:
    """An interrupted fit ends at once."""
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        fit_flow(tiny_dynamics(), MovingWorld(), seed=0, steps=10**6, signals=[15])  # type: ignore[arg-type]


def test_codes_look_like_their_mean_in_decoded_frames() -> None:
    """The mean colours of a code's squares; a code that never occurs looks like the mean of all squares."""
    tokenizer, clips = tiny_tokenizer(), MovingWorld()
    clips.picture.clamp_(max=14)
    looks = code_appearance(tokenizer, clips)  # type: ignore[arg-type]
    codes = torch.cat([clips.read([place])[0] for place in clips.spread(256)])[:, :1]
    frames = torch.from_numpy(tokenizer.decode(codes)).float() / 255
    squares = frames[:, 0].unflatten(1, (8, CELL)).unflatten(3, (8, CELL)).transpose(2, 3)
    torch.testing.assert_close(looks[5], squares[codes[:, 0] == 5].mean(0), atol=1e-2, rtol=0)
    torch.testing.assert_close(looks[15], squares.flatten(0, 2).mean(0), atol=1e-2, rtol=0)


def test_the_fit_is_short_before_short_runs() -> None:
    """A tenth of the minutes, at most its setting; the steps do not matter, so that a run can be made longer."""
    assert fit_steps(DEFAULTS) == DEFAULTS.flow_steps
    assert fit_steps(dataclasses.replace(DEFAULTS, minutes=1.0)) == 40
    assert fit_steps(dataclasses.replace(DEFAULTS, steps=3)) == DEFAULTS.flow_steps
    assert fit_steps(dataclasses.replace(DEFAULTS, flow_steps=0)) == 0
