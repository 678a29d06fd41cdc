"""Optical flow: images are rendered, warped, read and compared."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.models import tiny_dynamics
from worldmodel.dynamics.optical_flow import LEVELS, OpticalFlow

GENERATOR = torch.Generator().manual_seed(0)
SIZE, CELL = 32, 4  # of the tiny dynamics' paintings and codes, in pixels


def tiny_flow() -> OpticalFlow:
    return tiny_dynamics().context.flow


def shifted(x: float, y: float) -> Tensor:
    """The same displacement, in pixels, everywhere: (1 2 H W)."""
    return torch.tensor([x, y]).view(1, 2, 1, 1).expand(1, 2, SIZE, SIZE) * (2 / SIZE)


def smooth() -> Tensor:
    """A picture without fine detail (1 3 32 32), wider than the frame on all sides before it is cut."""
    coarse = torch.randn(1, 3, 6, 6, generator=GENERATOR)
    return torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bicubic")[..., 8:40, 8:40]


def test_codes_are_rendered_as_they_look() -> None:
    """Each code's square holds its own colours, standardised channel by channel over the codes."""
    dynamics = tiny_dynamics()
    looks = 3 * torch.rand(16, CELL, CELL, 3, generator=GENERATOR) + 1
    dynamics.set_code_appearance(looks)
    codes = torch.randint(16, (2, 3, 8, 8), generator=GENERATOR)
    rendered = dynamics.render(codes)
    assert rendered.shape == (2, 3, 3, SIZE, SIZE)
    wanted = ((looks - looks.mean((0, 1, 2))) / looks.std((0, 1, 2)))[codes[1, 2, 5, 6]].permute(2, 0, 1)
    torch.testing.assert_close(rendered[1, 2, :, 20:24, 24:28], wanted)


def test_the_painting_is_warped_by_fractions_of_a_pixel() -> None:
    """What lies at the displaced place arrives, between pixels their mean; what was out of view is marked and empty."""
    flow = tiny_flow()
    image = torch.randn(1, 3, SIZE, SIZE, generator=GENERATOR)
    windows = flow.warp(image, shifted(3.0, -2.0))
    assert windows.shape == (1, 8, 8, 8 * 8 * 4)  # a code and its ring, three colours and "in view"
    window = windows[0, 2, 3].view(4, 8, 8)
    torch.testing.assert_close(window[:3], image[0, :, 8 - 2 - 2 : 16 - 2 - 2, 12 - 2 + 3 : 20 - 2 + 3])
    assert torch.allclose(window[3], torch.ones(8, 8))
    half = flow.warp(image, shifted(0.5, 0.0))[0, 2, 3].view(4, 8, 8)
    torch.testing.assert_close(half[:3], (image[0, :, 6:14, 10:18] + image[0, :, 6:14, 11:19]) / 2)
    gone = flow.warp(image, shifted(SIZE, 0.0))
    assert torch.equal(gone, torch.zeros_like(gone))


@pytest.mark.parametrize("finest", [1, 4])
def test_the_loss_is_least_at_the_true_displacement(finest: int) -> None:
    """At the fine levels and at the coarse ones, and nearly nothing there but for the edge that came into view."""
    flow, world = tiny_flow(), smooth()
    after = torch.nn.functional.pad(world[..., 4:], (0, 4, 0, 0), mode="replicate")
    losses = {x: float(flow.loss(shifted(x, 0), world, after, finest=finest)) for x in range(-8, 9)}
    assert min(losses, key=lambda x: losses[x]) == 4
    assert losses[4] < 0.3 * losses[-4]


def test_the_coarsest_level_points_to_a_far_displacement() -> None:
    """Half a frame away the fine levels may mislead; the coarse ones say which way to go."""
    flow, world = tiny_flow(), smooth()
    after = torch.nn.functional.pad(world[..., 12:], (0, 12, 0, 0), mode="replicate")
    losses = [float(flow.loss(shifted(x, 0), world, after, finest=LEVELS[-1])) for x in (0, 4, 8)]
    assert losses == sorted(losses, reverse=True)


def test_displacements_are_polynomials_of_the_place() -> None:
    """A homogeneous one moves everything alike; x moves the two sides against each other."""
    flow = tiny_flow()
    history = torch.zeros(1, flow.actions.shape[0], dtype=torch.int64)
    with torch.no_grad():
        flow.camera.zero_()
        terms = len(flow.polynomial)
        flow.camera[-1, 0] = 0.5  # x by a constant
        flow.camera[-1, terms + 5] = 1.0  # y by the first power of x
    found = flow.displacement(history)[0]
    torch.testing.assert_close(found[0], torch.full((SIZE, SIZE), 0.25))
    torch.testing.assert_close(found[1], flow.places[0, 0] * 0.5)


def test_the_last_actions_condition_a_frame() -> None:
    """The features depend on the action before the last, and on none that is older than the history."""
    dynamics = tiny_dynamics(action_history=2, window=1)
    codes = torch.randint(16, (1, 4, 8, 8), generator=GENERATOR)
    actions = torch.tensor([[0, 1, 2, 3]])
    usual = dynamics.features(codes, actions)[:, -1]
    for place, matters in ((1, False), (2, True), (3, True)):
        other = actions.clone()
        other[0, place] = (other[0, place] + 1) % 4
        assert torch.equal(dynamics.features(codes, other)[:, -1].context, usual.context) is not matters


def test_flow_features_reach_the_features_and_the_logits() -> None:
    """Other looks of the same codes: other features, and other logits of the next frame."""
    dynamics = tiny_dynamics()
    codes = torch.randint(16, (1, 2, 8, 8), generator=GENERATOR)
    actions = torch.zeros(1, 1, dtype=torch.int64)
    answers = []
    for _ in range(2):
        dynamics.set_code_appearance(torch.rand(16, CELL, CELL, 3, generator=GENERATOR))
        features = dynamics.features(codes[:, :1], actions)
        answers.append((features.context, dynamics.logits(features, codes[:, 1:])))
    for first, second in zip(*answers, strict=True):
        assert (first - second).abs().max() > 1e-4
