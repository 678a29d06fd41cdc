"""The belief: what it remembers, what it does not see, where it says it is, and what it paints."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.dynamics.test_radiance_field import colourful, room, tiny_field
from tests.models import tiny_dynamics
from worldmodel.dynamics.belief import FADING, STEP_SPREAD, Belief, Clock, Memory, where_to_look
from worldmodel.dynamics.ego_motion import HISTORY, STILL
from worldmodel.dynamics.localisation import KEPT, PROPOSED_SPREAD
from worldmodel.dynamics.track import step_on
from worldmodel.types import NO_ACTION

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
    outlook = belief.follow(vectors, paintings, torch.zeros(2, 3, dtype=torch.int64), memory, seen=2)
    assert memory.beliefs is not None
    assert memory.beliefs.shape == (2, 16)
    assert belief.paint(outlook.views).shape == (2, 3, 3, 4 * code_grid, 4 * code_grid)
    assert outlook.doubts.shape == (2, 3)


def test_what_is_not_looked_at_has_no_effect() -> None:
    """A frame that is not real may be any frame; its action counts, and a real one has an effect ever after."""
    belief = tiny_belief()
    vectors = torch.randn(1, 4, 8, 8, 8, generator=GENERATOR)
    paintings = torch.randn(1, 4, 3, 32, 32, generator=GENERATOR)
    actions = torch.zeros(1, 4, dtype=torch.int64)

    def follow(vectors: Tensor, paintings: Tensor, actions: Tensor) -> Tensor:
        return belief.follow(vectors, paintings, actions, Memory(), seen=2).views

    usual = follow(vectors, paintings, actions)
    for place, matters in ((1, True), (2, False), (3, False)):
        others = [each.clone() for each in (vectors, paintings)]
        for other in others:
            other[:, place] += 1.0
        changed = follow(*others, actions)
        assert torch.equal(changed[:, :place], usual[:, :place])
        assert torch.equal(changed[:, place:], usual[:, place:]) is not matters
        told = actions.clone()
        told[:, place] = 1
        assert not torch.equal(follow(vectors, paintings, told)[:, place], usual[:, place])


def test_a_frame_that_was_looked_at_is_not_looked_at_again() -> None:
    """It makes no difference whether the last frame is looked at before or with the action that follows it."""
    belief = tiny_belief()
    vectors = torch.randn(1, 3, 8, 8, 8, generator=GENERATOR)
    paintings = torch.randn(1, 3, 3, 32, 32, generator=GENERATOR)
    actions = torch.tensor([[0, 1, 2]])
    usual, early = Memory(), Memory()
    want = belief.follow(vectors, paintings, actions, usual)
    belief.follow(vectors[:, :2], paintings[:, :2], actions[:, :2], early)
    belief.look_at(vectors[:, 2], paintings[:, 2], early)
    beliefs = early.beliefs
    outlook = belief.take_in(vectors[:, 2], paintings[:, 2], actions[:, 2], early, real=True)
    assert early.beliefs is beliefs
    for got, part in zip(outlook, want, strict=True):
        assert torch.equal(got, part[:, 2])


def test_what_is_not_looked_at_is_doubted_more_and_more() -> None:
    """The doubt is the misfit of what was seen; from there on it grows with every step."""
    belief = tiny_belief()
    vectors = torch.randn(2, 5, 8, 8, 8, generator=GENERATOR)
    paintings = torch.randn(2, 5, 3, 32, 32, generator=GENERATOR)
    memory = Memory()
    doubts = belief.follow(vectors, paintings, torch.zeros(2, 5, dtype=torch.int64), memory, seen=2).doubts
    assert memory.misfit is not None
    assert memory.guesses is not None
    assert (doubts[:, 1] >= memory.misfit).all()
    torch.testing.assert_close(doubts[:, 2:], doubts[:, 1:2] + FADING * torch.arange(1, 4))
    certain = torch.isclose(memory.guesses.weights[:, 0], torch.zeros(2), atol=1e-4)
    assert ((doubts[:, 1] - memory.misfit < 1e-3) == certain).all()


def test_who_looks_again_has_followed_all_that_was_possible() -> None:
    """Blind steps are taken by the likeliest guess alone; where frames are looked at again, all guesses took them."""
    belief = tiny_belief()
    vectors = torch.randn(2, 6, 8, 8, 8, generator=GENERATOR)
    paintings = torch.randn(2, 6, 3, 32, 32, generator=GENERATOR)
    actions = torch.randint(4, (2, 6), generator=GENERATOR)
    memory = Memory()
    assert belief._caught_up(memory) is None
    belief.follow(vectors[:, :5], paintings[:, :5], actions[:, :5], memory, seen=2)
    memory.repeat(torch.tensor([1, 0, 1]))
    alone, here = memory.guesses, memory.seen
    assert alone is not None
    assert here is not None
    assert alone.weights.shape == (3, 1)
    told = F.pad(actions[[1, 0, 1], :5], (HISTORY - 1, 0), value=NO_ACTION)
    poses, momenta, errors = (each[0] for each in (here.views[..., :3], here.momenta, here.errors))
    for t in range(1, 5):
        rows = told[:1, t : t + HISTORY].expand(KEPT, -1)
        poses, momenta, errors = step_on(belief.ego_motion, poses, rows, momenta, errors)
    every = belief._caught_up(memory)
    assert every is not None
    torch.testing.assert_close(every.views[0, :, :3], poses)
    torch.testing.assert_close(every.momenta[0], momenta)
    torch.testing.assert_close(every.errors[0], errors)
    torch.testing.assert_close(every.spreads[0], where_to_look(errors))
    torch.testing.assert_close(every.likeliest().views, alone.views)
    belief.look_at(vectors[[1, 0, 1], 5], paintings[[1, 0, 1], 5], memory)
    belief.take_in(vectors[[1, 0, 1], 5], paintings[[1, 0, 1], 5], actions[[1, 0, 1], 5], memory, real=True)
    assert memory.way is not None
    assert memory.way.shape[1] == 1


def test_the_outlook_of_known_views_doubts_as_much_as_they_misfit() -> None:
    """Views that show what is seen are not doubted, those that do not are, and blind ones more with every step."""
    belief = tiny_belief()
    belief.field = colourful(room(tiny_field(field_grid=128)))
    views = torch.tensor([[[0.1, 0.0, 0.3, 0.0], [0.1, 0.1, 0.3, 0.0], [0.1, 0.2, 0.3, 0.0], [0.1, 0.2, 0.5, 0.0]]])
    seen = belief.paint(views)
    paintings = torch.cat([seen[:, :1], seen[:, :-1]], dim=1)  # of the frame before each
    right = belief.outlook(views, paintings, 4)
    assert torch.equal(right.views, views)
    assert right.doubts.max() < 0.05 * seen.var()  # rays are traced quickly here: not quite the same picture
    wrong = belief.outlook(views + torch.tensor([0.3, 0.0, 1.0, 0.0]), paintings, 4)
    assert wrong.doubts.min() > 0.3 * seen.var()
    blind = belief.outlook(views, paintings, 2).doubts - right.doubts[:, :1]
    torch.testing.assert_close(blind, torch.tensor([[0.0, 0.0, FADING, 2 * FADING]]), atol=1e-6, rtol=0)
    assert (belief.outlook(views, paintings, 1).doubts > 0).all()


def test_who_is_not_known_well_is_sought_farther_off() -> None:
    """A view is sought within what is not known of its pose, and a little more."""
    errors = torch.diag(torch.tensor([1e-4, 4e-4, 1e-3, 1.0, 1.0])).unsqueeze(0)
    spread = where_to_look(errors)[0]
    torch.testing.assert_close(
        spread.diagonal(), torch.tensor([1e-4, 4e-4, 1e-3, PROPOSED_SPREAD[3] ** 2]) + _little_more()
    )
    assert torch.equal(spread, spread.diagonal().diag())


def _little_more() -> Tensor:
    return torch.nn.functional.pad(torch.tensor(STEP_SPREAD).square(), (0, 1))


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


def test_the_map_is_as_large_as_what_was_recorded() -> None:
    """The longer side fills -1..1, the middle is the middle, and angles become radians."""
    belief = tiny_belief()
    belief.settle(torch.tensor([100.0, -50.0]), torch.tensor([300.0, 50.0]))
    poses = belief.to_map(torch.tensor([[100.0, 0.0, 90.0], [300.0, 50.0, -180.0]]))
    torch.testing.assert_close(poses, torch.tensor([[-1.0, 0.0, math.pi / 2], [1.0, 0.5, -math.pi]]))
    belief.settle(torch.tensor([7.0, 7.0]), torch.tensor([7.0, 7.0]))  # a game in which nobody moves
    assert belief.to_map(torch.tensor([7.0, 7.0, 0.0])).isfinite().all()


def test_who_stands_still_does_so_in_the_games_units() -> None:
    """On a map twice as large it is half as much of the map."""
    belief, still = tiny_belief(), []
    for size in (100.0, 200.0):
        belief.settle(torch.zeros(2), torch.tensor([size, size]))
        still.append(belief.ego_motion.still.item())
    assert still == pytest.approx([STILL / 50, STILL / 100])
