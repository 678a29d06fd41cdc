"""The particle filter: what is proposed, compared and kept, and how near the best view comes to the true one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tests.learned_map.test_radiance_field import colourful, room, tiny_field
from worldmodel.learned_map.kalman import initial_covariance
from worldmodel.learned_map.motion_model import MOMENTUM_DIM
from worldmodel.learned_map.particle_filter import (
    NUM_PARTICLES,
    PROPOSAL_STD,
    REFINE,
    Particles,
    associate,
    localise,
    refine,
    refine_pose,
)
from worldmodel.learned_map.place_recognition import HEADINGS, POINTS, PoseLogits
from worldmodel.learned_map.radiance_field import RadianceField

GENERATOR = torch.Generator().manual_seed(0)


def built() -> RadianceField:
    """Return a field of a room whose walls are all different, in strong colours."""
    return colourful(room(tiny_field(map_grid=128, code_grid=16)))


def logits_at(*poses: tuple[float, float, float]) -> PoseLogits:
    """Return logits with peaks at some poses (3), the first of them highest."""
    place, heading = torch.zeros(POINTS, POINTS), torch.zeros(HEADINGS)
    for number, (x, y, angle) in enumerate(poses):
        row, column = (round((each + 1) * (POINTS - 1) / 2) for each in (x, y))
        place[row, column] = 12.0 - number
        heading[round(angle * HEADINGS / (2 * math.pi)) % HEADINGS] = 12.0 - number
    return PoseLogits(place.reshape(1, -1), heading.reshape(1, -1))


def particles_at(views: Tensor, log_weights: Tensor) -> Particles:
    """Return particles (b g) of views (b g 4)."""
    b, g = log_weights.shape
    search = torch.diag(torch.tensor(PROPOSAL_STD).square()).expand(b, g, 4, 4)
    momenta = torch.full((b, g, MOMENTUM_DIM), 0.01)
    covariances = (0.01 * initial_covariance(views)).expand(b, g, -1, -1)
    return Particles(views, views[..., :3], momenta, search, covariances, log_weights, torch.zeros(b, g))


def test_a_view_is_found_where_it_was_rendered() -> None:
    """From a few steps away, drawing finds the view from which a frame is seen, and says how well it fits."""
    field = built()
    true = torch.tensor([[0.1, -0.2, 0.4, 0.0], [-0.2, 0.1, 2.0, 0.05], [0.0, 0.3, -1.0, -0.05]])
    begun = true + torch.tensor([[0.015, -0.01, 0.01, 0.0], [-0.01, 0.01, -0.015, 0.0], [0.01, 0.015, 0.01, 0.02]])
    spread = torch.diag(torch.tensor(PROPOSAL_STD).square()).expand(3, 1, -1, -1)
    start = begun.unsqueeze(1)
    found, errors, search = refine(field, start, spread, start, spread, field.render(true), REFINE, 8)
    before = (field.render(begun) - field.render(true)).square().mean((1, 2, 3))
    assert (errors[:, 0] < 0.1 * before).all()
    assert ((found[:, 0] - true).norm(dim=1) < 0.7 * (begun - true).norm(dim=1)).all()
    assert (torch.linalg.eigvalsh(search) > 0).all()


def test_the_likeliest_of_several_places_is_the_one_that_fits_the_frame() -> None:
    """Whatever place recognition prefers, and whatever the particles were before."""
    field = built()
    true, wrong, elsewhere = (0.1, -0.2, 0.4), (-0.3, 0.3, 3.0), (0.3, 0.2, 5.0)
    image = field.render(torch.tensor([[*true, 0.0]]))
    eye = torch.zeros(1)
    before = particles_at(
        torch.tensor([[[*wrong, 0.0], [*true, 0.0], [*elsewhere, 0.0]]]), torch.tensor([[0.0, -5, -5]])
    )
    all_wrong = particles_at(torch.tensor([[[*wrong, 0.0]] * 3]), torch.zeros(1, 3))
    for where, earlier in (
        (logits_at(true, wrong), None),
        (logits_at(wrong, true), None),
        (logits_at(wrong), before),
        (logits_at(true, wrong), all_wrong),
    ):
        found = localise(field, where, eye, earlier, image)
        assert found.views.shape == (1, NUM_PARTICLES, 4)
        torch.testing.assert_close(found.views[0, 0, :3], torch.tensor(true), atol=0.03, rtol=0)
        assert found.errors[0, 0] < 0.2 * (image - image.mean()).square().mean()
        assert found.log_weights[0, 0] > -0.05
        torch.testing.assert_close(found.log_weights.logsumexp(1), torch.zeros(1), atol=1e-5, rtol=0)


def test_a_proposal_goes_on_from_the_nearest_particle_or_from_none() -> None:
    """Within the maximum association distance it takes over prediction and covariance; else nothing is known."""
    view = torch.tensor([0.1, -0.2, 6.2, 0.0])
    others = torch.stack([view, view + torch.tensor([0.03, 0.02, 0.0, 0.0]), view + 1.0])
    earlier = particles_at(others.unsqueeze(0), torch.zeros(1, 3))
    earlier = earlier._replace(momenta=torch.arange(3.0).view(1, 3, 1).expand_as(earlier.momenta))
    offsets = torch.tensor(
        [[0.01, 0.0, -2 * math.pi, 0.0], [0.02, 0.02, 0.0, 0.0], [0.0, 0.0, 0.4, 0.0], [0.3, 0.0, 0.0, 0.0]]
    )
    new = particles_at((view + offsets).unsqueeze(0), torch.zeros(1, 4))
    new = new._replace(
        predicted=torch.full((1, 4, 3), math.nan), covariances=initial_covariance(view).expand(1, 4, -1, -1)
    )
    found = associate(new, earlier)
    assert torch.equal(found.predicted[0, :2], others[:2, :3])
    assert found.predicted[0, 2:].isnan().all()
    assert torch.equal(
        found.covariances[0], torch.stack([0.01 * initial_covariance(view)] * 2 + [initial_covariance(view)] * 2)
    )
    assert found.momenta[0, :, 0].tolist() == [0.0, 1.0, 0.0, 0.0]  # others have the likeliest's
    assert torch.equal(found.views, new.views)


def test_a_close_look_is_nearer() -> None:
    """Of several particles the likeliest comes nearer to where a frame is seen from; all else stays."""
    field = built()
    true = torch.tensor([[0.1, -0.2, 0.4, 0.0], [-0.2, 0.1, 2.0, 0.05], [0.0, 0.3, -1.0, -0.05]])
    begun = true + torch.tensor([[0.006, -0.004, 0.015, 0.01], [-0.004, 0.006, -0.015, 0.0], [0.005, 0.005, 0.01, 0.0]])
    particles = particles_at(torch.stack([begun, begun + 0.3, begun - 0.3], dim=1), torch.zeros(3, 3))
    image = field.render(true)
    found = refine_pose(field, particles, image)
    seen = [(field.render(views) - image).square().mean((1, 2, 3)) for views in (begun, found.views[:, 0])]
    assert (seen[1] < seen[0]).all()
    assert seen[1].mean() < 0.3 * seen[0].mean()
    assert ((found.views[:, 0] - true).norm(dim=1) < 0.6 * (begun - true).norm(dim=1)).all()
    for name in ("log_weights", "search", "covariances", "predicted", "momenta"):
        assert torch.equal(getattr(found, name), getattr(particles, name))
    for name in ("views", "errors"):
        assert torch.equal(getattr(found, name)[:, 1:], getattr(particles, name)[:, 1:])


def test_duplicates_count_once() -> None:
    """Two particles of one place leave room for another."""
    field = built()
    view = torch.tensor([[0.1, -0.2, 0.4, 0.0]])
    other = torch.tensor([-0.3, 0.3, 3.0, 0.0])
    earlier = particles_at(torch.stack([view[0], view[0] + 1e-3, other]).unsqueeze(0), torch.zeros(1, 3))
    found = localise(field, logits_at((0.1, -0.2, 0.4)), torch.zeros(1), earlier, field.render(view))
    apart = (found.views[0, 0] - found.views[0, 1:])[:, :3].norm(dim=1)
    assert (apart[found.log_weights[0, 1:] > -1e3] > 0.01).all()
