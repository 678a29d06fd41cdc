"""Localisation: what is proposed, compared and kept, and how near the best comes to where a frame was painted from."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tests.dynamics.test_radiance_field import colourful, room, tiny_field
from worldmodel.dynamics.ego_motion import MOMENTUM_DIM
from worldmodel.dynamics.localisation import (
    HEADINGS,
    KEPT,
    POINTS,
    PROPOSED_SPREAD,
    REFINE,
    Guesses,
    Whereabouts,
    _kin,
    likelihood,
    localise,
    look_closely,
    propose,
    refine,
    unlikelihood,
)
from worldmodel.dynamics.radiance_field import RadianceField
from worldmodel.dynamics.track import lost

GENERATOR = torch.Generator().manual_seed(0)


def built() -> RadianceField:
    """Return a field of a room whose walls are all different, in strong colours."""
    return colourful(room(tiny_field(field_grid=128, code_grid=16)))


def thought(*poses: tuple[float, float, float]) -> Whereabouts:
    """Return what a network thinks that believes in some poses (3), the first of them most."""
    place, heading = torch.zeros(POINTS, POINTS), torch.zeros(HEADINGS)
    for number, (x, y, angle) in enumerate(poses):
        row, column = (round((each + 1) * (POINTS - 1) / 2) for each in (x, y))
        place[row, column] = 12.0 - number
        heading[round(angle * HEADINGS / (2 * math.pi)) % HEADINGS] = 12.0 - number
    return Whereabouts(place.reshape(1, -1), heading.reshape(1, -1))


def guessed(views: Tensor, weights: Tensor) -> Guesses:
    """Return guesses (b g) of views (b g 4)."""
    b, g = weights.shape
    spreads = torch.diag(torch.tensor(PROPOSED_SPREAD).square()).expand(b, g, 4, 4)
    momenta = torch.full((b, g, MOMENTUM_DIM), 0.01)
    errors = (0.01 * lost(views)).expand(b, g, -1, -1)
    return Guesses(views, views[..., :3], momenta, spreads, errors, weights, torch.zeros(b, g))


def test_a_view_is_found_where_it_was_painted() -> None:
    """From a few steps away, drawing finds the view from which a frame is seen, and says how well it fits."""
    field = built()
    true = torch.tensor([[0.1, -0.2, 0.4, 0.0], [-0.2, 0.1, 2.0, 0.05], [0.0, 0.3, -1.0, -0.05]])
    begun = true + torch.tensor([[0.015, -0.01, 0.01, 0.0], [-0.01, 0.01, -0.015, 0.0], [0.01, 0.015, 0.01, 0.02]])
    spread = torch.diag(torch.tensor(PROPOSED_SPREAD).square()).expand(3, 1, -1, -1)
    start = begun.unsqueeze(1)
    found, misfits, spreads = refine(field, start, spread, start, spread, field.view(true), REFINE, 8)
    before = (field.view(begun) - field.view(true)).square().mean((1, 2, 3))
    assert (misfits[:, 0] < 0.1 * before).all()
    assert ((found[:, 0] - true).norm(dim=1) < 0.7 * (begun - true).norm(dim=1)).all()
    assert (torch.linalg.eigvalsh(spreads) > 0).all()


def test_of_several_places_the_one_that_shows_what_is_seen_is_likeliest() -> None:
    """Whatever the network thinks most of, and whatever was thought before."""
    field = built()
    true, wrong, elsewhere = (0.1, -0.2, 0.4), (-0.3, 0.3, 3.0), (0.3, 0.2, 5.0)
    painting = field.view(torch.tensor([[*true, 0.0]]))
    eye = torch.zeros(1)
    before = guessed(torch.tensor([[[*wrong, 0.0], [*true, 0.0], [*elsewhere, 0.0]]]), torch.tensor([[0.0, -5, -5]]))
    astray = guessed(torch.tensor([[[*wrong, 0.0]] * 3]), torch.zeros(1, 3))
    for where, earlier in (
        (thought(true, wrong), None),
        (thought(wrong, true), None),
        (thought(wrong), before),
        (thought(true, wrong), astray),
    ):
        found = localise(field, where, eye, earlier, painting)
        assert found.views.shape == (1, KEPT, 4)
        torch.testing.assert_close(found.views[0, 0, :3], torch.tensor(true), atol=0.03, rtol=0)
        assert found.misfits[0, 0] < 0.2 * (painting - painting.mean()).square().mean()
        assert found.weights[0, 0] > -0.05
        torch.testing.assert_close(found.weights.logsumexp(1), torch.zeros(1), atol=1e-5, rtol=0)


def test_a_newcomer_far_from_all_others_is_somebody_else() -> None:
    """Of him nothing was expected, and he may be fast; one near another goes on from what was expected of that one."""
    view = torch.tensor([0.1, -0.2, 6.2, 0.0])
    others = torch.stack([view, view + torch.tensor([0.03, 0.02, 0.0, 0.0]), view + 1.0])
    earlier = guessed(others.unsqueeze(0), torch.zeros(1, 3))
    earlier = earlier._replace(momenta=torch.arange(3.0).view(1, 3, 1).expand_as(earlier.momenta))
    offsets = torch.tensor(
        [[0.01, 0.0, -2 * math.pi, 0.0], [0.02, 0.02, 0.0, 0.0], [0.0, 0.0, 0.4, 0.0], [0.3, 0.0, 0.0, 0.0]]
    )
    new = guessed((view + offsets).unsqueeze(0), torch.zeros(1, 4))
    new = new._replace(expected=torch.full((1, 4, 3), math.nan), errors=lost(view).expand(1, 4, -1, -1))
    found = _kin(new, earlier)
    assert torch.equal(found.expected[0, :2], others[:2, :3])
    assert found.expected[0, 2:].isnan().all()
    assert torch.equal(found.errors[0], torch.stack([0.01 * lost(view)] * 2 + [lost(view)] * 2))
    assert found.momenta[0, :, 0].tolist() == [0.0, 1.0, 0.0, 0.0]  # strangers are about as fast as the likeliest
    assert torch.equal(found.views, new.views)


def test_a_closer_look_is_nearer() -> None:
    """Of several guesses the likeliest comes nearer to where a frame is seen from; all else stays."""
    field = built()
    true = torch.tensor([[0.1, -0.2, 0.4, 0.0], [-0.2, 0.1, 2.0, 0.05], [0.0, 0.3, -1.0, -0.05]])
    begun = true + torch.tensor([[0.006, -0.004, 0.015, 0.01], [-0.004, 0.006, -0.015, 0.0], [0.005, 0.005, 0.01, 0.0]])
    guesses = guessed(torch.stack([begun, begun + 0.3, begun - 0.3], dim=1), torch.zeros(3, 3))
    painting = field.view(true)
    found = look_closely(field, guesses, painting)
    seen = [(field.view(views) - painting).square().mean((1, 2, 3)) for views in (begun, found.views[:, 0])]
    assert (seen[1] < seen[0]).all()
    assert seen[1].mean() < 0.3 * seen[0].mean()
    assert ((found.views[:, 0] - true).norm(dim=1) < 0.6 * (begun - true).norm(dim=1)).all()
    for name in ("weights", "spreads", "errors", "expected", "momenta"):
        assert torch.equal(getattr(found, name), getattr(guesses, name))
    for name in ("views", "misfits"):
        assert torch.equal(getattr(found, name)[:, 1:], getattr(guesses, name)[:, 1:])


def test_guesses_that_are_one_count_once() -> None:
    """Two guesses of one place leave room for another."""
    field = built()
    view = torch.tensor([[0.1, -0.2, 0.4, 0.0]])
    other = torch.tensor([-0.3, 0.3, 3.0, 0.0])
    earlier = guessed(torch.stack([view[0], view[0] + 1e-3, other]).unsqueeze(0), torch.zeros(1, 3))
    found = localise(field, thought((0.1, -0.2, 0.4)), torch.zeros(1), earlier, field.view(view))
    apart = (found.views[0, 0] - found.views[0, 1:])[:, :3].norm(dim=1)
    assert (apart[found.weights[0, 1:] > -1e3] > 0.01).all()


def somewhere(number: int) -> Tensor:
    """Poses anywhere on the map, one of them in its corner, headings also beyond a full turn."""
    poses = torch.rand(number, 3, generator=GENERATOR) * torch.tensor([2.0, 2.0, 4 * math.pi])
    poses -= torch.tensor([1.0, 1.0, 2 * math.pi])
    poses[0] = torch.tensor([1.0, -1.0, 0.0])
    return poses


def turn(away: Tensor) -> Tensor:
    return torch.remainder(away + math.pi, 2 * math.pi) - math.pi


def test_the_likeliest_pose_is_the_one_that_was_learnt() -> None:
    """Logits that cost least tell a pose to a small part of the way between two points, around the circle as well."""
    poses = somewhere(16)
    where = Whereabouts(torch.zeros(16, POINTS**2, requires_grad=True), torch.zeros(16, HEADINGS, requires_grad=True))
    optimizer = torch.optim.Adam(list(where), lr=0.3)
    for _ in range(300):
        optimizer.zero_grad()
        (16 * unlikelihood(where, poses)).backward()
        optimizer.step()
    found, logs = propose(Whereabouts(*(part.detach() for part in where)), 3)
    away = found[:, 0] - poses
    assert away[:, :2].abs().max() < 1e-3
    assert turn(away[:, 2]).abs().max() < 1e-3
    assert (logs.diff(dim=1) <= 0).all()


def test_what_is_proposed_is_what_is_thought_of() -> None:
    """Of two places and two headings all four pairs, the likeliest first; each as likely as the network thinks."""
    angle = 12 * 2 * math.pi / HEADINGS
    where = thought((0.5, -0.5, angle), (-0.8, 0.9, 4.0))
    poses, logs = propose(where, 4)
    pairs = {(round(float(x), 1), round(float(angle), 1)) for x, _, angle in poses[0]}
    assert len(pairs) == 4
    torch.testing.assert_close(poses[0, 0], torch.tensor([0.5, -0.5, angle]), atol=0.04, rtol=0)
    assert (logs.diff() <= 0).all()
    near = likelihood(where, poses)[0]
    assert near[0] > -1.0
    assert (near.diff() < 0.01).all()
    assert (likelihood(where, torch.tensor([[[0.0, 0.0, 2.5]]])) < -9).all()


def test_a_pose_is_told_by_the_points_around_it_alone() -> None:
    """What is thought of places far from the likeliest point moves the pose by nothing; it may lie in any corner."""
    place = torch.full((4, POINTS, POINTS), -20.0)
    corners = [(0, 0), (0, POINTS - 1), (POINTS - 1, 0), (POINTS - 1, POINTS - 1)]
    for logits, (row, column) in zip(place, corners, strict=True):
        logits[row, column] = 9.0
        logits[POINTS // 2, POINTS // 2] = 8.9
    heading = torch.full((4, HEADINGS), -20.0)
    heading[:, 0] = 9.0
    found = propose(Whereabouts(place.flatten(1), heading), 1)[0][:, 0]
    want = torch.tensor([[2.0 * row / (POINTS - 1) - 1, 2.0 * column / (POINTS - 1) - 1] for row, column in corners])
    torch.testing.assert_close(found[:, :2], want)
    torch.testing.assert_close(turn(found[:, 2]), torch.zeros(4))
