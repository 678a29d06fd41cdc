"""The belief: what it remembers, what it does not see, where it says it is, and what it paints."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.dynamics.test_radiance_field import colourful, room, tiny_field
from tests.models import tiny_dynamics
from worldmodel.dynamics.belief import (
    GUESS_SPREAD,
    HEADINGS,
    POINTS,
    STEP_SPREAD,
    Belief,
    Clock,
    Memory,
    Whereabouts,
    fit,
    pose,
    spread_after,
    unlikelihood,
)
from worldmodel.dynamics.ego_motion import moved
from worldmodel.dynamics.radiance_field import RadianceField

GENERATOR = torch.Generator().manual_seed(0)


def tiny_belief(**changes: object) -> Belief:
    belief = tiny_dynamics(**changes).belief
    assert belief is not None
    return belief


@pytest.mark.parametrize("code_grid", [4, 6, 12, 16, 18])
def test_any_grid_is_painted_pixel_by_pixel(code_grid: int) -> None:
    """The painting is as large as what the codes look like, whatever their number."""
    belief = tiny_belief(code_grid=code_grid, belief_dim=16)
    vectors = torch.randn(2, 3, code_grid, code_grid, 8, generator=GENERATOR)
    paintings = torch.randn(2, 3, 3, 4 * code_grid, 4 * code_grid, generator=GENERATOR)
    memory = Memory()
    views = belief.follow(vectors, paintings, torch.zeros(2, 3, dtype=torch.int64), memory, seen=2)
    assert memory.beliefs is not None
    assert memory.beliefs.shape == (2, 16)
    assert belief.paint(views).shape == (2, 3, 3, 4 * code_grid, 4 * code_grid)


def test_what_is_not_looked_at_has_no_effect() -> None:
    """A frame that is not real may be any frame; its action counts, and a real one has an effect ever after."""
    belief = tiny_belief()
    vectors = torch.randn(1, 4, 8, 8, 8, generator=GENERATOR)
    paintings = torch.randn(1, 4, 3, 32, 32, generator=GENERATOR)
    actions = torch.zeros(1, 4, dtype=torch.int64)
    usual = belief.follow(vectors, paintings, actions, Memory(), seen=2)
    for place, matters in ((1, True), (2, False), (3, False)):
        others = [each.clone() for each in (vectors, paintings)]
        for other in others:
            other[:, place] += 1.0
        changed = belief.follow(*others, actions, Memory(), seen=2)
        assert torch.equal(changed[:, :place], usual[:, :place])
        assert torch.equal(changed[:, place:], usual[:, place:]) is not matters
        told = actions.clone()
        told[:, place] = 1
        assert not torch.equal(belief.follow(vectors, paintings, told, Memory(), seen=2)[:, place], usual[:, place])


def built() -> RadianceField:
    """Return a field of a room whose walls are all different, in strong colours."""
    return colourful(room(tiny_field(field_grid=128, code_grid=16)))


def test_a_view_is_found_where_it_was_painted() -> None:
    """From a few steps away, drawing finds the view from which a frame is seen, and says how well it fits."""
    field = built()
    true = torch.tensor([[0.1, -0.2, 0.4, 0.0], [-0.2, 0.1, 2.0, 0.05], [0.0, 0.3, -1.0, -0.05]])
    begun = true + torch.tensor([[0.015, -0.01, 0.01, 0.0], [-0.01, 0.01, -0.015, 0.0], [0.01, 0.015, 0.01, 0.02]])
    spread = torch.diag(torch.tensor(GUESS_SPREAD).square()).expand(3, -1, -1)
    found, misfit, _ = fit(field, begun, spread, field.view(true), rounds=10)
    before = (field.view(begun) - field.view(true)).square().mean((1, 2, 3))
    assert (misfit < 0.1 * before).all()
    assert ((found - true).norm(dim=1) < 0.7 * (begun - true).norm(dim=1)).all()


def test_a_place_is_left_only_for_a_better_one() -> None:
    """Of what the network guesses and of where the steps have led, that is taken which shows what is seen."""
    belief = tiny_belief()
    belief.field = built()
    true, wrong = torch.tensor([[0.1, -0.2, 0.4]]), torch.tensor([[-0.3, 0.3, 3.0]])
    eye = torch.zeros(1)
    painting = belief.field.view(torch.cat([true, eye.unsqueeze(1)], dim=1))
    for guess, expected in ((true, wrong), (wrong, true), (true, true)):
        found = belief._find(guess, expected, 1e-4 * torch.eye(3)[None], eye, painting)
        torch.testing.assert_close(found.views[:, :3], true, atol=0.03, rtol=0)
        assert found.misfits[0] < 0.2 * (painting - painting.mean()).square().mean()


def test_what_is_not_known_of_a_pose_goes_on_with_it() -> None:
    """Who looked elsewhere has gone elsewhere: the covariance is that of many steps from poses drawn from the first."""
    spread = torch.tensor([[4e-4, 1e-4, 0.0], [1e-4, 2e-4, 1e-4], [0.0, 1e-4, 3e-4]])
    before = torch.tensor([[0.1, 0.2, 0.7]])
    step = torch.tensor([[0.3, 0.1, 0.2]])
    after = moved(before, step)
    drawn = before + torch.randn(50_000, 3, generator=GENERATOR) @ torch.linalg.cholesky(spread).mT
    want = moved(drawn, step.expand(len(drawn), -1)).T.cov() + torch.diag(torch.tensor(STEP_SPREAD).square())
    torch.testing.assert_close(spread_after(before, after, spread[None])[0], want, atol=1.5e-5, rtol=0.03)


def test_the_clock_learns_its_phase_and_keeps_it() -> None:
    """A few looks at the swaying eye tell the phase; who stands still learns nothing, and time goes on."""
    angle, phase = 2 * math.pi / 5, 0.7
    swings = torch.tensor([[0.18, 0.05], [0.0, 0.0]])
    clock = Clock.unknown(swings)
    assert (clock.sway(swings) == 0).all()
    for t in range(5):
        true = torch.tensor([math.sin(phase + angle * t), math.cos(phase + angle * t)])
        clock = clock.seen(swings, (swings * true).sum(-1)).later(angle)
    for t in range(5, 15):
        true = torch.tensor([math.sin(phase + angle * t), math.cos(phase + angle * t)])
        torch.testing.assert_close(clock.mean[0], true, atol=0.1, rtol=0)
        assert (clock.mean[1] == 0).all()
        clock = clock.later(angle)


def test_recorded_views_sway_with_the_engines_clock() -> None:
    """The eye of who walks is as high again after a whole number of its periods, and not in between."""
    belief = tiny_belief()
    torch.nn.init.normal_(belief.field.sway[2].weight, generator=GENERATOR)
    places = torch.tensor([[float(x), 0.0, 90.0] for x in range(0, 12)]).unsqueeze(0)
    views = belief.views(places, torch.arange(1, 12).unsqueeze(0))
    assert views.shape == (1, 11, 4)
    torch.testing.assert_close(views[..., :3], belief.to_map(places[:, 1:]))
    torch.testing.assert_close(views[0, :6, 3], views[0, 5:, 3])  # 20 tics are 5 frames of 4
    assert views[0, :5, 3].std() > 1e-3


def test_what_is_expected_reaches_the_logits() -> None:
    """A belief that is somewhere else: other features, and other logits of the next frame."""
    dynamics = tiny_dynamics()
    codes = torch.randint(16, (1, 2, 8, 8), generator=GENERATOR)
    actions = torch.zeros(1, 1, dtype=torch.int64)
    answers = []
    for _ in range(2):
        features = dynamics.features(codes[:, :1], actions)
        answers.append((features, dynamics.logits(features, codes[:, 1:])))
        torch.nn.init.normal_(dynamics.belief.place.weight, generator=GENERATOR)
    for first, second in zip(*answers, strict=True):
        assert (first - second).abs().max() > 1e-4


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
    away = pose(where).detach() - poses
    assert away[:, :2].abs().max() < 1e-3
    assert turn(away[:, 2]).abs().max() < 1e-3


def test_a_pose_is_told_by_the_points_around_it_alone() -> None:
    """What is thought of places far from the likeliest point moves the pose by nothing; it may lie in any corner."""
    place = torch.full((4, POINTS, POINTS), -20.0)
    corners = [(0, 0), (0, POINTS - 1), (POINTS - 1, 0), (POINTS - 1, POINTS - 1)]
    for logits, (row, column) in zip(place, corners, strict=True):
        logits[row, column] = 9.0
        logits[POINTS // 2, POINTS // 2] = 8.9
    heading = torch.full((4, HEADINGS), -20.0)
    heading[:, 0] = 9.0
    found = pose(Whereabouts(place.flatten(1), heading))
    want = torch.tensor([[2.0 * row / (POINTS - 1) - 1, 2.0 * column / (POINTS - 1) - 1] for row, column in corners])
    torch.testing.assert_close(found[:, :2], want)
    torch.testing.assert_close(turn(found[:, 2]), torch.zeros(4))


def test_the_map_is_as_large_as_what_was_recorded() -> None:
    """The longer side fills -1..1, the middle is the middle, and angles become radians."""
    belief = tiny_belief()
    belief.settle(torch.tensor([100.0, -50.0]), torch.tensor([300.0, 50.0]))
    poses = belief.to_map(torch.tensor([[100.0, 0.0, 90.0], [300.0, 50.0, -180.0]]))
    torch.testing.assert_close(poses, torch.tensor([[-1.0, 0.0, math.pi / 2], [1.0, 0.5, -math.pi]]))
    belief.settle(torch.tensor([7.0, 7.0]), torch.tensor([7.0, 7.0]))  # a game in which nobody moves
    assert belief.to_map(torch.tensor([7.0, 7.0, 0.0])).isfinite().all()
