"""The belief: what it remembers, what it does not see, where it says it is, and what it paints."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.models import tiny_dynamics
from worldmodel.dynamics.belief import HEADINGS, POINTS, Belief, Memory, Outlook, Whereabouts, pose, unlikelihood

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
    beliefs = belief(vectors, torch.zeros(2, 3, dtype=torch.int64))
    assert beliefs.shape == (2, 3, 16)
    assert belief.paint(belief.outlook(beliefs)).shape == (2, 3, 3, 4 * code_grid, 4 * code_grid)


def test_the_belief_goes_on_where_it_was() -> None:
    """Step by step, with its memory handed on, it expects what it expects of the whole; blind from the fourth frame."""
    belief = tiny_belief()
    vectors = torch.randn(2, 6, 8, 8, 8, generator=GENERATOR)
    actions = torch.randint(-1, 4, (2, 6), generator=GENERATOR)
    whole = belief.reckon(belief.outlook(belief(vectors, actions)), actions, torch.tensor([3, 3]))
    memory = Memory()
    steps = [belief.take_in(vectors[:, t], actions[:, t], memory, real=t < 3) for t in range(6)]
    for part, parts in zip(whole, zip(*steps, strict=True), strict=True):
        torch.testing.assert_close(torch.stack(parts, dim=1), part)


def test_what_is_not_looked_at_has_no_effect() -> None:
    """A frame that is not real may be any frame; its action counts, and a real one has an effect ever after."""
    belief = tiny_belief()
    vectors = torch.randn(1, 4, 8, 8, 8, generator=GENERATOR)
    actions = torch.zeros(1, 4, dtype=torch.int64)
    seen = torch.tensor([2])

    def poses(vectors: Tensor, actions: Tensor) -> Tensor:
        return belief.reckon(belief.outlook(belief(vectors, actions)), actions, seen).poses

    usual = poses(vectors, actions)
    for place, matters in ((1, True), (2, False), (3, False)):
        other = vectors.clone()
        other[:, place] += 1.0
        changed = poses(other, actions)
        assert torch.equal(changed[:, :place], usual[:, :place])
        assert torch.equal(changed[:, place:], usual[:, place:]) is not matters
        assert torch.equal(changed[:, 3], usual[:, 3]) is not matters
        told = actions.clone()
        told[:, place] = 1
        assert not torch.equal(poses(vectors, told)[:, place], usual[:, place])


def test_blind_from_frame_to_frame_is_each_clips_own() -> None:
    """Clips of a batch that are blind from different frames on do not touch one another; all seen changes nothing."""
    belief = tiny_belief()
    vectors = torch.randn(2, 5, 8, 8, 8, generator=GENERATOR)
    actions = torch.randint(4, (2, 5), generator=GENERATOR)
    outlook = belief.outlook(belief(vectors, actions))
    both = belief.reckon(outlook, actions, torch.tensor([5, 2]))
    assert torch.equal(both.poses[0], outlook.poses[0])
    assert torch.equal(both.hints[0], outlook.hints[0])
    alone = belief.reckon(Outlook(*(part[1:] for part in outlook)), actions[1:], torch.tensor([2]))
    torch.testing.assert_close(both.poses[1], alone.poses[0])
    assert (both.hints[1, 2:] == 0).all()
    assert torch.equal(both.hints[1, :2], outlook.hints[1, :2])


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
