"""The learned map: what it remembers, what it does not see, where it says it is, and what it expects."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.learned_map.test_radiance_field import colourful, room, tiny_field
from tests.models import FakeExpectations, tiny_dynamics, tiny_map
from worldmodel.dynamics.expectation import Expectation, ExpectationModel
from worldmodel.learned_map import particle_filter
from worldmodel.learned_map.kalman import ekf_predict
from worldmodel.learned_map.map import (
    ERROR_GROWTH,
    MAX_ERROR,
    MIN_ERROR,
    STEP_STD,
    FilterState,
    LearnedMap,
    search_covariance,
)
from worldmodel.learned_map.motion_model import HISTORY
from worldmodel.learned_map.particle_filter import NUM_PARTICLES, PROPOSAL_STD, SearchEffort
from worldmodel.types import UNKNOWN_ACTION

GENERATOR = torch.Generator().manual_seed(0)
SLIGHT = SearchEffort(columns=4, rows=3, drawn=8, best=3)


@pytest.fixture(autouse=True)
def slight_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """How well views are found is tested elsewhere; that is what takes the time."""
    for effort in ("COMPARE", "REFINE", "CLOSE_LOOK"):
        monkeypatch.setattr(particle_filter, effort, SLIGHT)


def some(frames: int, *, rows: int = 2) -> tuple[Tensor, Tensor]:
    """Random codes (b t 8 8) and actions (b t)."""
    codes = torch.randint(16, (rows, frames, 8, 8), generator=GENERATOR)
    return codes, torch.randint(4, (rows, frames), generator=GENERATOR)


def run(learned_map: LearnedMap, codes: Tensor, actions: Tensor, *, looks: int) -> list[FilterState]:
    """The states predicted after each frame, of which the first `looks` are looked at."""
    states: list[FilterState] = []
    for t in range(actions.shape[1]):
        state = states[-1] if states else None
        if t < looks:
            state = learned_map.update(state, codes[:, t])
        assert state is not None
        states.append(learned_map.predict(state, actions[:, t]))
    return states


def test_it_is_an_expectation_model() -> None:
    """It has the interface that the simulator joins to the dynamics, as the tests' fake has."""
    assert isinstance(tiny_map(), ExpectationModel)
    assert isinstance(FakeExpectations(tiny_dynamics()), ExpectationModel)


@pytest.mark.parametrize("code_grid", [4, 6, 12, 16, 18])
def test_any_grid_is_rendered_pixel_by_pixel(code_grid: int) -> None:
    """The image is as large as what the codes look like, whatever their number."""
    learned_map = tiny_map(tiny_dynamics(code_grid=code_grid))
    codes = torch.randint(16, (2, 3, code_grid, code_grid), generator=GENERATOR)
    expectation = learned_map.follow(codes, torch.zeros(2, 3, dtype=torch.int64), num_real=2)
    assert expectation.image.shape == (2, 3, 3, 4 * code_grid, 4 * code_grid)
    assert expectation.precision.shape == (2, 3)


def test_following_a_context_is_beginning_and_stepping() -> None:
    """`follow` with the length of a context gives what `begin` and `step` give: one distribution."""
    learned_map = tiny_map()
    codes, actions = some(5)
    expectations, state = learned_map.begin(codes[:, :3], actions[:, :2])
    found = learned_map.follow(codes, actions, num_real=3)
    assert torch.equal(found.image[:, :2], expectations.image)
    for t in range(2, 5):
        expectation, state = learned_map.step(state, actions[:, t])
        assert torch.equal(found.image[:, t], expectation.image)
        assert torch.equal(found.precision[:, t], expectation.precision)
    last, _ = learned_map.begin(codes[:, :3], actions[:, :2], num_expected=1)
    assert torch.equal(last.image, expectations.image[:, 1:])
    assert learned_map.begin(codes[:, :1], actions[:, :0])[0].image.shape == (2, 0, 3, 32, 32)


def test_what_is_imagined_has_no_effect() -> None:
    """An imagined frame may be any frame; its action counts, and a real frame has an effect ever after."""
    learned_map = tiny_map()
    codes, actions = some(4, rows=1)
    usual = learned_map.follow(codes, actions, num_real=2).image
    for place, matters in ((1, True), (2, False), (3, False)):
        other = codes.clone()
        other[:, place] = (other[:, place] + 1) % 16
        changed = learned_map.follow(other, actions, num_real=2).image
        assert torch.equal(changed[:, place:], usual[:, place:]) is not matters
        other_actions = actions.clone()
        other_actions[:, place] = (other_actions[:, place] + 1) % 4
        changed = learned_map.follow(codes, other_actions, num_real=2).image
        assert torch.equal(changed[:, :place], usual[:, :place])
        assert not torch.equal(changed[:, place:], usual[:, place:])


def test_states_are_values() -> None:
    """A state that was stepped from can be stepped from again, and rows of it go on as they would alone."""
    learned_map = tiny_map()
    codes, actions = some(3)
    _, state = learned_map.begin(codes, actions[:, :2])
    first, later = learned_map.step(state, actions[:, 2])
    again, _ = learned_map.step(state, actions[:, 2])
    assert torch.equal(first.image, again.image)
    rows = torch.tensor([1, 0, 1])
    mixed, _ = learned_map.step(later.repeat(rows), actions[rows, 0])
    alone, _ = learned_map.step(later, actions[:, 0])
    torch.testing.assert_close(mixed.image, alone.image[rows])
    torch.testing.assert_close(mixed.precision, alone.precision[rows])


def test_the_precision_falls_with_the_error_and_is_that_of_the_situation() -> None:
    """One number after a look at real frames, another in imagination, from the first imagined frame on."""
    learned_map = tiny_map(logit_precision=(2.0, 7.0))
    codes, actions = some(4)
    errors = torch.stack([state.error for state in run(learned_map, codes, actions, looks=4)], dim=1)
    torch.testing.assert_close(learned_map.follow(codes, actions).precision, 2.0 / errors.clamp(MIN_ERROR, MAX_ERROR))
    views = torch.zeros(1, 5, 4)
    for num_real, want in ((None, [2.0] * 5), (1, [7.0] * 5), (3, [2.0] * 2 + [7.0] * 3), (5, [2.0] * 4 + [7.0])):
        found = learned_map.expect(views, torch.full((1, 5), 0.1), num_real=num_real).precision
        torch.testing.assert_close(found[0], torch.tensor(want) / 0.1)
    _, state = learned_map.begin(codes, actions[:, :3])
    imagined, after = learned_map.step(state, actions[:, 3])
    torch.testing.assert_close(imagined.precision, 7.0 / after.error.clamp(MIN_ERROR, MAX_ERROR))


def test_the_error_grows_in_imagination() -> None:
    """It is the photometric error of the frames that were looked at, and grows with every step since."""
    learned_map = tiny_map()
    states = run(learned_map, *some(5), looks=2)
    errors = torch.stack([state.error for state in states], dim=1)
    assert (errors[:, 1] >= states[1].mean_error).all()
    torch.testing.assert_close(errors[:, 2:], errors[:, 1:2] + ERROR_GROWTH * torch.arange(1, 4))
    certain = torch.isclose(states[1].particles.log_weights[:, 0], torch.zeros(2), atol=1e-4)
    assert ((errors[:, 1] - states[1].mean_error < 1e-3) == certain).all()


def test_after_another_look_all_particles_have_moved_on() -> None:
    """In imagination the likeliest particle moves alone; where frames are looked at again, all have taken its steps."""
    learned_map = tiny_map()
    codes, actions = some(6)
    state = run(learned_map, codes[:, :5], actions[:, :5], looks=2)[-1].repeat(torch.tensor([1, 0, 1]))
    alone, here = state.particles, state.anchor
    assert here is not None
    assert alone.log_weights.shape == (3, 1)
    history = F.pad(actions[[1, 0, 1], :5], (HISTORY - 1, 0), value=UNKNOWN_ACTION)
    poses, momenta, covariances = (each[0] for each in (here.views[..., :3], here.momenta, here.covariances))
    for t in range(1, 5):
        rows = history[:1, t : t + HISTORY].expand(NUM_PARTICLES, -1)
        poses, momenta, covariances = ekf_predict(learned_map.motion_model, poses, rows, momenta, covariances)
    every = learned_map._all_particles(state)
    torch.testing.assert_close(every.views[0, :, :3], poses)
    torch.testing.assert_close(every.momenta[0], momenta)
    torch.testing.assert_close(every.covariances[0], covariances)
    torch.testing.assert_close(every.search[0], search_covariance(covariances))
    torch.testing.assert_close(every.likeliest().views, alone.views)
    state = learned_map.predict(learned_map.update(state, codes[[1, 0, 1], 5]), actions[[1, 0, 1], 5])
    assert state.steps is not None
    assert state.steps.shape[1] == 1


def test_known_views_have_the_error_with_which_they_show_the_frames() -> None:
    """Views that show what is seen have little error, others much, and imagined ones more with every step."""
    learned_map = tiny_map()
    learned_map.field = colourful(room(tiny_field(map_grid=128)))
    views = torch.tensor([[[0.1, 0.0, 0.3, 0.0], [0.1, 0.1, 0.3, 0.0], [0.1, 0.2, 0.3, 0.0], [0.1, 0.2, 0.5, 0.0]]])
    seen = learned_map.render(views)
    images = torch.cat([seen[:, :1], seen[:, :-1]], dim=1)  # of the frame before each
    past = torch.zeros(1, 4, 8, 8, dtype=torch.int64)

    def errors(views: Tensor, num_real: int) -> Tensor:
        learned_map.images = lambda codes: images[:, 1 : 1 + codes.shape[1]]  # type: ignore[method-assign]
        return learned_map.recorded_errors(views, past, num_real=num_real)

    right = errors(views, 4)
    assert right.max() < 0.05 * seen.var()  # rays are traced quickly here: not quite the same picture
    assert errors(views + torch.tensor([0.3, 0.0, 1.0, 0.0]), 4).min() > 0.3 * seen.var()
    blind = errors(views, 2) - right[:, :1]
    torch.testing.assert_close(blind, torch.tensor([[0.0, 0.0, ERROR_GROWTH, 2 * ERROR_GROWTH]]), atol=1e-6, rtol=0)
    assert (errors(views, 1) > 0).all()


def test_a_pose_that_is_not_known_well_is_searched_farther_off() -> None:
    """A view is searched within the covariance of its pose, and a little more."""
    covariances = torch.diag(torch.tensor([1e-4, 4e-4, 1e-3, 1.0, 1.0])).unsqueeze(0)
    search = search_covariance(covariances)[0]
    little_more = F.pad(torch.tensor(STEP_STD).square(), (0, 1))
    want = torch.tensor([1e-4, 4e-4, 1e-3, PROPOSAL_STD[3] ** 2]) + little_more
    torch.testing.assert_close(search.diagonal(), want)
    assert torch.equal(search, search.diagonal().diag())


def test_recorded_views_bob_with_the_engines_clock() -> None:
    """The eye of a walking player is as high again after a whole number of periods, and not in between."""
    learned_map = tiny_map()
    torch.nn.init.normal_(learned_map.view_bob.network[2].weight, generator=GENERATOR)
    places = torch.tensor([[float(x), 0.0, 90.0] for x in range(0, 12)]).unsqueeze(0)
    views = learned_map.recorded_views(places, torch.arange(1, 12).unsqueeze(0))
    assert views.shape == (1, 11, 4)
    torch.testing.assert_close(views[..., :3], learned_map.to_map(places[:, 1:]))
    torch.testing.assert_close(views[0, :6, 3], views[0, 5:, 3])  # 20 tics are 5 frames of 4
    assert views[0, :5, 3].std() > 1e-3


def test_freezing_changes_no_expectation() -> None:
    """A frozen map expects the same, bit for bit, in single precision."""
    learned_map = tiny_map()
    codes, actions = some(3)
    ours, its = (
        each.follow(codes, actions, num_real=2) for each in (learned_map, learned_map.frozen(precision="float32"))
    )
    assert isinstance(ours, Expectation)
    assert torch.equal(ours.image, its.image)
    assert torch.equal(ours.precision, its.precision)


def test_the_map_is_as_large_as_what_was_recorded() -> None:
    """The longer side fills -1..1, the middle is the middle, and angles become radians."""
    learned_map = tiny_map()
    learned_map.set_bounds(torch.tensor([100.0, -50.0]), torch.tensor([300.0, 50.0]))
    poses = learned_map.to_map(torch.tensor([[100.0, 0.0, 90.0], [300.0, 50.0, -180.0]]))
    torch.testing.assert_close(poses, torch.tensor([[-1.0, 0.0, math.pi / 2], [1.0, 0.5, -math.pi]]))
    learned_map.set_bounds(torch.tensor([7.0, 7.0]), torch.tensor([7.0, 7.0]))  # a game in which nobody moves
    assert learned_map.to_map(torch.tensor([7.0, 7.0, 0.0])).isfinite().all()


def test_the_stop_speed_is_in_the_games_units() -> None:
    """On a map twice as large it is half as much of the map."""
    learned_map, speeds = tiny_map(), []
    for size in (100.0, 200.0):
        learned_map.set_bounds(torch.zeros(2), torch.tensor([size, size]))
        speeds.append(learned_map.motion_model.stop_speed.item())
    assert speeds == pytest.approx([learned_map.config.stop_speed / 50, learned_map.config.stop_speed / 100])
