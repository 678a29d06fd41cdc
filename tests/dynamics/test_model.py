"""The dynamics: causality in time and wave, caching, exact sampling, actions."""

from __future__ import annotations

import math

import pytest
import torch

from tests.models import tiny_dynamics
from worldmodel.dynamics.model import LEAST_DOUBT, MOST_DOUBT, Dynamics, corrupt
from worldmodel.dynamics.order import NAMES, Order
from worldmodel.runtime import autocast

FRAMES = 7  # more than twice the window of 3
CODES = torch.randint(16, (2, FRAMES, 8, 8), generator=torch.Generator().manual_seed(5))
ACTIONS = torch.randint(4, (2, FRAMES), generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("window", [1, 2, 3])
def test_cached_features_equal_the_full_pass(window: int) -> None:
    """Taking frames in one at a time gives the features of one pass over all, also past the window's edge."""
    dynamics = tiny_dynamics(window=window, seed=2)  # with 1 the same views differ by rounding
    full = dynamics.features(CODES, ACTIONS)
    cache = dynamics.new_cache()
    for t in range(FRAMES):
        features = dynamics.observe(CODES[:, t], ACTIONS[:, t], cache)
        own = dynamics.config.context_dim
        torch.testing.assert_close(features[..., :own], full[:, t, :, :own], rtol=1e-4, atol=1e-5)
        carried, scale = full[:, t, :, own:], full[..., own:].abs().max().item()  # squares: rounding grows with them
        torch.testing.assert_close(features[..., own:], carried, rtol=1e-4, atol=1e-6 * scale)


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


def test_frozen_equals_the_model_it_was_made_of() -> None:
    """Freezing changes where work is done, not one bit of the features, in both precisions."""
    dynamics = tiny_dynamics(gaze_layers=2)
    seen = 2
    for precision in ("float32", "bfloat16"):
        frozen = dynamics.frozen(precision=precision)
        with torch.no_grad(), autocast(dynamics.device, precision=precision):
            ours, its = (each.features(CODES, ACTIONS, seen=seen) for each in (frozen, dynamics))
            assert torch.equal(ours, its)
    assert all(p.requires_grad != name.startswith("belief.") for name, p in dynamics.named_parameters())


@pytest.mark.parametrize("order", NAMES)
def test_causal_in_time(order: str) -> None:
    """Changing frame t leaves the predictions of frames up to t unchanged, and changes that of frame t + 1."""
    dynamics = tiny_dynamics(order=order, window=FRAMES)
    changed = CODES.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 16
    before, after = dynamics.features(CODES, ACTIONS), dynamics.features(changed, ACTIONS)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


def test_the_window_is_all_that_is_seen() -> None:
    """A frame older than layers x window, the reach of stacked windows, has no effect; a belief remembers it."""
    changed = CODES.clone()
    changed[:, 0] = (changed[:, 0] + 1) % 16
    for pose in (False, True):
        dynamics = tiny_dynamics(window=2, context_layers=2, pose=pose)
        before, after = dynamics.features(CODES, ACTIONS), dynamics.features(changed, ACTIONS)
        # Each layer reaches one frame further back, and a frame's input holds the frame before it.
        assert torch.equal(before[:, 4:], after[:, 4:]) is not pose
        assert not torch.allclose(before[:, 3], after[:, 3])


@pytest.mark.parametrize("order", NAMES)
def test_causal_in_wave(order: str) -> None:
    """Changing a code changes no logits of its own wave but later ones of its patch, and none of earlier waves."""
    dynamics = tiny_dynamics(order=order)
    features = dynamics.features(CODES, ACTIONS)[:, 0]
    patches = dynamics.to_patches(CODES[:, 1:2])[:, 0]
    before = dynamics.decoder(features, dynamics.vectors(patches))
    waves = torch.from_numpy(dynamics.order.waves)
    for position in range(16):
        changed = patches.clone()
        changed[:, position, 1] = (changed[:, position, 1] + 1) % 16
        after = dynamics.decoder(features, dynamics.vectors(changed))
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
    features, vectors = torch.randn(1, 16, 32 + raster.config.carried), torch.randn(1, 16, 4, 8)
    expected = raster.decoder(features, vectors)
    for name in ("diagonal", "diagonal-look-right"):
        waves = tiny_dynamics(order=name)
        waves.load_state_dict(shared, strict=False)
        logits = waves.decoder(features, vectors)
        assert Order(name, 4).bounds[0] == (0, 1)
        torch.testing.assert_close(logits[0, 0], expected[0, 0])
        assert not torch.allclose(logits[0, 15], expected[0, 15])


def test_actions_change_the_prediction_of_their_own_frame() -> None:
    """The action after frame t changes what follows frame t, and nothing before."""
    dynamics = tiny_dynamics()
    changed = ACTIONS.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 4
    before, after = dynamics.features(CODES, ACTIONS), dynamics.features(CODES, changed)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4], after[:, 4])


def test_no_action_is_a_choice_of_its_own() -> None:
    """-1, "not told", gives other features than any action."""
    dynamics = tiny_dynamics()
    none = dynamics.features(CODES, torch.full_like(ACTIONS, -1))
    for action in range(4):
        assert not torch.allclose(none, dynamics.features(CODES, torch.full_like(ACTIONS, action)))


def test_initial_loss_is_about_log_k() -> None:
    """Before training every code is about as likely as any other."""
    torch.manual_seed(0)
    dynamics = Dynamics(tiny_dynamics().config, torch.randn(16, 8)).eval()
    losses = dynamics.loss(CODES, ACTIONS[:, :-1], generator=torch.Generator())
    assert abs(losses.nll.item() - math.log(16)) < 0.1
    assert abs(losses.alone.item() - math.log(16)) < 0.1


def test_loss_is_the_likelihood_of_the_next_frames() -> None:
    """nll is the mean of -log p(code) under `logits` of the features of the past."""
    dynamics = tiny_dynamics()
    losses = dynamics.loss(CODES, ACTIONS[:, :-1], generator=torch.Generator())
    features = dynamics.features(CODES[:, :-1], ACTIONS[:, :-1])
    log_p = dynamics.logits(features, CODES[:, 1:]).log_softmax(-1)
    expected = -log_p.gather(-1, CODES[:, 1:, ..., None]).mean()
    torch.testing.assert_close(losses.nll, expected)


def test_patches_and_back() -> None:
    """Cutting a grid of codes into patches loses nothing and keeps neighbours together."""
    dynamics = tiny_dynamics()
    patches = dynamics.to_patches(CODES)
    assert torch.equal(dynamics.from_patches(patches[:, 0]), CODES[:, 0])
    assert torch.equal(patches[0, 0, 0], CODES[0, 0, :2, :2].flatten())


def test_corruption_is_of_the_context_only_and_bounded() -> None:
    """At most the given share of codes is replaced, and evaluation replaces none."""
    dynamics = tiny_dynamics(max_corruption=0.5)
    corrupted, rate = corrupt(CODES, dynamics.config, torch.Generator().manual_seed(0))
    share = (corrupted != CODES).float().mean((1, 2, 3))
    assert ((share > 0) & (share < rate + 0.1)).all()
    assert (rate <= 0.5).all()


def test_a_codebook_of_another_shape_is_refused() -> None:
    """The dynamics is made for one codebook's shape."""
    with pytest.raises(ValueError, match="codebook"):
        tiny_dynamics(codebook=torch.zeros(8, 8))


def test_what_is_expected_counts_by_how_near_a_code_looks() -> None:
    """The evidence is minus the squared distance per pixel value, times the trust, less where more is doubted."""
    dynamics, untrusting = (tiny_dynamics(trust=trust) for trust in ((2.0, 7.0), (0.0, 0.0)))
    seen = 2
    features = dynamics.features(CODES, ACTIONS, seen=seen)
    expected, doubts = dynamics.expect(CODES, dynamics.paint(CODES), ACTIONS, seen)
    t = ACTIONS.shape[1]
    evidence = dynamics.evidence(features)
    assert evidence is not None
    for frame, certain in ((1, 2.0), (2, 7.0), (t - 1, 7.0)):
        trust = (certain / doubts[:, frame].clamp(LEAST_DOUBT, MOST_DOUBT)).unsqueeze(1)
        for row, column in ((0, 0), (3, 6), (7, 5)):
            cell = expected[:, frame, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            distances = (cell.unsqueeze(1) - dynamics.appearances).square().mean((2, 3, 4))
            patch, link = (row // 2) * 4 + column // 2, (row % 2) * 2 + column % 2
            found = evidence[:, frame, patch, link]
            torch.testing.assert_close(
                found - found.mean(1, keepdim=True), -trust * (distances - distances.mean(1, keepdim=True)),
                atol=1e-4, rtol=1e-4,
            )  # fmt: skip
    logits = dynamics.logits(features, CODES)
    without = untrusting.logits(untrusting.features(CODES, ACTIONS, seen=seen), CODES)
    torch.testing.assert_close(dynamics.to_patches((logits - without).argmax(-1)), evidence.argmax(-1))


def test_a_close_look_is_trusted_like_imagination() -> None:
    """After a frame that was looked at closely, what is expected counts as much as after an imagined one."""
    dynamics = tiny_dynamics(trust=(2.0, 7.0))
    for closely, imagined, certain in ((False, False, 2.0), (True, False, 7.0), (False, True, 7.0)):
        cache = dynamics.new_cache()
        dynamics.observe(CODES[:, 0], ACTIONS[:, 0], cache)
        cache.belief.closely, cache.imagined = closely, imagined
        trust = dynamics.observe(CODES[:, 1], ACTIONS[:, 1], cache)[..., -1]
        assert cache.belief.doubt is not None
        doubted = certain / cache.belief.doubt.clamp(LEAST_DOUBT, MOST_DOUBT)
        torch.testing.assert_close(trust, doubted.unsqueeze(1).expand_as(trust))


def test_without_poses_there_is_no_belief() -> None:
    """Nothing is expected, nothing is added, and nothing of it is in the checkpoint."""
    dynamics = tiny_dynamics(pose=False)
    features = dynamics.features(CODES, ACTIONS)
    assert features.shape[-1] == dynamics.config.context_dim + dynamics.config.carried
    assert dynamics.evidence(features) is None
    assert not [name for name in dynamics.state_dict() if "belief" in name or "expected" in name or "trust" in name]
