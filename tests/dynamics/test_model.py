"""The dynamics: causality in time and wave, caching, exact sampling, actions."""

from __future__ import annotations

import math

import pytest
import torch

from tests.models import OUTSIDE, expecting, tiny_dynamics
from worldmodel.dynamics.expectation import Expectation, drop_expectation
from worldmodel.dynamics.features import Features
from worldmodel.dynamics.model import Dynamics
from worldmodel.dynamics.order import NAMES, Order
from worldmodel.runtime import autocast

FRAMES = 7  # more than twice the window of 3
CODES = torch.randint(16, (2, FRAMES, 8, 8), generator=torch.Generator().manual_seed(5))
ACTIONS = torch.randint(4, (2, FRAMES), generator=torch.Generator().manual_seed(6))


def make(outside: str, **changes: object) -> tuple[Dynamics, Expectation | None]:
    """A dynamics, and what the outside model expects after each of CODES, of which 2 are a context."""
    dynamics = tiny_dynamics(expectation=outside != "none", **changes)
    model = expecting(outside, dynamics)
    return dynamics, None if model is None else model.follow(CODES, ACTIONS, num_real=2)


@pytest.mark.parametrize("outside", OUTSIDE)
@pytest.mark.parametrize("window", [1, 2, 3])
def test_cached_features_equal_the_full_pass(window: int, outside: str) -> None:
    """Taking frames in one at a time gives the features of one pass over all, also past the window's edge."""
    dynamics, expectation = make(outside, window=window)
    full = dynamics.features(CODES, ACTIONS, expectation=expectation)
    cache = dynamics.new_cache()
    for t in range(FRAMES):
        here = None if expectation is None else Expectation(*(part[:, t] for part in expectation))
        features = dynamics.observe(CODES[:, t], ACTIONS[:, t], cache, here)
        torch.testing.assert_close(features.context, full.context[:, t], rtol=1e-4, atol=1e-5)
        scale = full.flow.abs().max().item()  # squares: rounding grows with them
        torch.testing.assert_close(features.flow, full.flow[:, t], rtol=1e-4, atol=1e-6 * scale)
        assert (features.expectation is None) is (outside == "none")


def test_cache_is_bounded() -> None:
    """However long the past, the cache holds one window of frames, in the memory that the first frame took."""
    dynamics = tiny_dynamics(window=3)
    cache = dynamics.new_cache()
    places = set()
    for t in range(FRAMES):
        dynamics.observe(CODES[:, t], ACTIONS[:, t], cache)
        places |= {part.data_ptr() for entry in cache._entries for part in entry}
        assert all(part.shape[-2] == 3 for entry in cache._entries for part in entry)
    assert len(places) == 2 * dynamics.config.context_layers


@pytest.mark.parametrize("outside", ["none", "fake"])
def test_frozen_equals_the_model_it_was_made_of(outside: str) -> None:
    """Freezing changes where work is done, not one bit of the features, in both precisions."""
    dynamics, expectation = make(outside, attention_bias_layers=2)
    for precision in ("float32", "bfloat16"):
        frozen = dynamics.frozen(precision=precision)
        with torch.no_grad(), autocast(dynamics.device, precision=precision):
            ours, its = (each.features(CODES, ACTIONS, expectation=expectation) for each in (frozen, dynamics))
        assert torch.equal(ours.context, its.context)
        assert torch.equal(ours.flow, its.flow)
    assert all(parameter.requires_grad for parameter in dynamics.parameters())


@pytest.mark.parametrize("order", NAMES)
def test_causal_in_time(order: str) -> None:
    """Changing frame t leaves the predictions of frames up to t unchanged, and changes that of frame t + 1."""
    dynamics = tiny_dynamics(order=order, window=FRAMES)
    changed = CODES.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 16
    before, after = dynamics.features(CODES, ACTIONS), dynamics.features(changed, ACTIONS)
    assert torch.equal(before.context[:, :3], after.context[:, :3])
    assert torch.equal(before.flow[:, :3], after.flow[:, :3])
    assert not torch.allclose(before.context[:, 3], after.context[:, 3])


def test_an_expectation_is_of_its_own_frame() -> None:
    """Changing what is expected of frame t changes no prediction of an earlier frame, and that of frame t."""
    dynamics, expectation = make("fake", window=FRAMES)
    assert expectation is not None
    image = expectation.image.clone()
    image[:, 3] += 1.0
    before, after = (
        dynamics.features(CODES, ACTIONS, expectation=each) for each in (expectation, expectation._replace(image=image))
    )
    assert torch.equal(before.context[:, :3], after.context[:, :3])
    assert not torch.allclose(before.context[:, 3], after.context[:, 3])
    assert not torch.allclose(before.flow[:, 3], after.flow[:, 3])


def test_the_window_is_all_that_is_seen() -> None:
    """A frame older than layers x window, the reach of stacked windows, has no effect."""
    changed = CODES.clone()
    changed[:, 0] = (changed[:, 0] + 1) % 16
    dynamics = tiny_dynamics(window=2, context_layers=2)
    before, after = (dynamics.features(codes, ACTIONS).context for codes in (CODES, changed))
    # Each layer reaches one frame further back, and a frame's input holds the frame before it.
    assert torch.equal(before[:, 4:], after[:, 4:])
    assert not torch.allclose(before[:, 3], after[:, 3])


@pytest.mark.parametrize("order", NAMES)
def test_causal_in_wave(order: str) -> None:
    """Changing a code changes no logits of its own wave but later ones of its patch, and none of earlier waves."""
    dynamics = tiny_dynamics(order=order)
    features = dynamics.features(CODES, ACTIONS)[:, 0]
    patches = dynamics.to_patches(CODES[:, 1:2])[:, 0]
    before = dynamics.decoder(features.context, features.flow, dynamics.vectors(patches))
    waves = torch.from_numpy(dynamics.order.waves)
    for position in range(16):
        changed = patches.clone()
        changed[:, position, 1] = (changed[:, position, 1] + 1) % 16
        after = dynamics.decoder(features.context, features.flow, dynamics.vectors(changed))
        same = (before == after).all(-1).all(0)  # (n links)
        not_later = waves <= waves[position]
        not_later[position] = False
        assert same[not_later].all()
        assert same[position, :2].all()
        assert not same[position, 2:].any()
        later_neighbours = [p for p in range(16) if position in dynamics.order.neighbours[p]]
        assert not same[later_neighbours].any()


def test_raster_and_waves_agree_where_they_must() -> None:
    """The first wave sees one feature and nothing else: in every order the same weights give the same logits for it."""
    raster = tiny_dynamics(order="raster")
    shared = {name: value for name, value in raster.state_dict().items() if name != "decoder.codes.weight"}
    features = torch.randn(1, 16, 32), torch.randn(1, 16, raster.config.flow_features)
    vectors = torch.randn(1, 16, 4, 8)
    expected = raster.decoder(*features, vectors)
    for name in ("diagonal", "diagonal-look-right"):
        waves = tiny_dynamics(order=name)
        waves.load_state_dict(shared, strict=False)
        logits = waves.decoder(*features, vectors)
        assert Order(name, 4).bounds[0] == (0, 1)
        torch.testing.assert_close(logits[0, 0], expected[0, 0])
        assert not torch.allclose(logits[0, 15], expected[0, 15])


def test_actions_change_the_prediction_of_their_own_frame() -> None:
    """The action after frame t changes what follows frame t, and nothing before."""
    dynamics = tiny_dynamics()
    changed = ACTIONS.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 4
    before, after = (dynamics.features(CODES, actions).context for actions in (ACTIONS, changed))
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4], after[:, 4])


def test_no_action_is_a_choice_of_its_own() -> None:
    """-1, "not told", gives other features than any action."""
    dynamics = tiny_dynamics()
    none = dynamics.features(CODES, torch.full_like(ACTIONS, -1)).context
    for action in range(4):
        assert not torch.allclose(none, dynamics.features(CODES, torch.full_like(ACTIONS, action)).context)


def test_initial_loss_is_about_log_k() -> None:
    """Before training every code is about as likely as any other."""
    torch.manual_seed(0)
    dynamics = Dynamics(tiny_dynamics().config, torch.randn(16, 8)).eval()
    losses = dynamics.loss(CODES, ACTIONS[:, :-1], generator=torch.Generator())
    assert abs(losses.nll.item() - math.log(16)) < 0.1
    assert abs(losses.aux_nll.item() - math.log(16)) < 0.1


@pytest.mark.parametrize("outside", OUTSIDE)
def test_loss_is_the_likelihood_of_the_next_frames(outside: str) -> None:
    """nll is the mean of -log p(code) under `logits` of the features of the past."""
    dynamics, every = make(outside)
    expectation = None if every is None else Expectation(*(part[:, :-1] for part in every))
    losses = dynamics.loss(CODES, ACTIONS[:, :-1], expectation=expectation, generator=torch.Generator())
    features = dynamics.features(CODES[:, :-1], ACTIONS[:, :-1], expectation=expectation)
    log_p = dynamics.logits(features, CODES[:, 1:]).log_softmax(-1)
    expected = -log_p.gather(-1, CODES[:, 1:, ..., None]).mean()
    torch.testing.assert_close(losses.nll, expected)


def test_patches_and_back() -> None:
    """Cutting a grid of codes into patches loses nothing and keeps neighbours together."""
    dynamics = tiny_dynamics()
    patches = dynamics.to_patches(CODES)
    assert torch.equal(dynamics.from_patches(patches[:, 0]), CODES[:, 0])
    assert torch.equal(patches[0, 0, 0], CODES[0, 0, :2, :2].flatten())


def test_a_codebook_of_another_shape_is_refused() -> None:
    """The dynamics is made for one codebook's shape."""
    with pytest.raises(ValueError, match="codebook"):
        tiny_dynamics(codebook=torch.zeros(8, 8))


def test_an_expectation_counts_by_how_near_a_code_looks() -> None:
    """The logit bias is minus the squared distance per pixel value, times the precision, up to a constant."""
    dynamics, expectation = make("fake")
    assert expectation is not None
    precision = torch.rand(2, FRAMES) + 0.5
    expectation = expectation._replace(precision=precision)
    bias = dynamics.logit_bias(expectation)
    assert bias is not None
    for frame in (0, 3, FRAMES - 1):
        for row, column in ((0, 0), (3, 6), (7, 5)):
            cell = expectation.image[:, frame, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            distances = (cell.unsqueeze(1) - dynamics.code_appearance).square().mean((2, 3, 4))
            want = -precision[:, frame, None] * (distances - distances.mean(1, keepdim=True))
            patch, link = (row // 2) * 4 + column // 2, (row % 2) * 2 + column % 2
            found = bias[:, frame, patch, link]
            torch.testing.assert_close(found - found.mean(1, keepdim=True), want, atol=1e-4, rtol=1e-4)
    features = dynamics.features(CODES, ACTIONS, expectation=expectation)
    without = dynamics.logits(Features(features.context, features.flow), CODES)
    difference = dynamics.to_patches((dynamics.logits(features, CODES) - without).argmax(-1))
    torch.testing.assert_close(difference, bias.argmax(-1))


def test_no_expectation_is_an_expectation_of_no_precision() -> None:
    """A clip whose expectation is dropped is one of which nothing is expected: no input, and no logit bias."""
    dynamics, expectation = make("fake")
    assert expectation is not None
    dropped = drop_expectation(expectation, torch.tensor([True, False]))
    features, full, none = (
        dynamics.features(CODES, ACTIONS, expectation=each) for each in (dropped, expectation, None)
    )
    logits, of_full, of_none = (dynamics.logits(each, CODES) for each in (features, full, none))
    assert torch.equal(features.context[0], full.context[0])
    assert torch.equal(features.context[1], none.context[1])
    assert torch.equal(features.flow[1], none.flow[1])
    assert torch.equal(logits[0], of_full[0])
    assert torch.equal(logits[1], of_none[1])
    assert not torch.allclose(logits[1], of_full[1])
    # Whatever the image shows: precision 0 means that nothing is expected.
    blank = expectation._replace(precision=torch.zeros_like(expectation.precision))
    assert torch.equal(dynamics.features(CODES, ACTIONS, expectation=blank).context, none.context)


def test_a_dynamics_without_expectations_refuses_one() -> None:
    """It has no weights for one, and its checkpoint holds nothing of it."""
    dynamics = tiny_dynamics()
    assert dynamics.logit_bias(None) is None
    assert not [name for name in dynamics.state_dict() if "expect" in name]
    with pytest.raises(ValueError, match="takes no expectation"):
        dynamics.features(CODES, ACTIONS, expectation=make("fake")[1])
