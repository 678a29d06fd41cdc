"""A particle filter over views: several places at once, each as likely as the frames so far make it.

Rooms look alike. So the camera is thought to be in several places, and each of them moves on with every step; place
recognition proposes others. All are compared with the frame (Monte Carlo localisation, Dellaert et al. 1999, with
proposals mixed in, Thrun et al. 2001), and the best are refined by drawing around them.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..runtime import single_precision
from .kalman import initial_covariance
from .motion_model import MOMENTUM_DIM, wrap_angle
from .place_recognition import NEVER, PoseLogits, neighbourhood_log_probability, propose
from .radiance_field import RadianceField

FIRST_PROPOSALS, PROPOSALS = 16, 8  # for the first frame, and for every other
FIRST_NEW, NEW = 6, 3  # of them are compared more closely
NUM_PARTICLES = 3
PROPOSAL_STD = (0.026, 0.026, 0.036, 0.07)  # of a view that is proposed
MAX_ASSOCIATION_DISTANCE, MAX_ASSOCIATION_ANGLE = (
    0.032,
    0.35,
)  # of a proposal to an earlier particle that it goes on from
PROPOSAL_PENALTY = 4.0  # nats that a proposal is less likely than an earlier particle
SHARPNESS, MIN_PHOTOMETRIC_ERROR = 10.0, 0.004  # likelihood: the error, not less than that, to minus this power
RECOGNITION_WEIGHT = 0.7  # the power of the network's probability
SAME_PLACE, SAME_HEADING = 0.017, 0.07  # particles that are nearer are duplicates
ERROR_WEIGHT = 900.0  # nats of a photometric error, where views of one particle are compared: neighbours err alike
WIDER, MIN_STD = 1.3, (2e-4, 2e-4, 2e-4, 2e-3)  # a round draws more widely than the best of the last one lie
AT_ONCE = 96  # views: more do not fit a CPU's caches


@dataclass(frozen=True)
class SearchEffort:
    """How views are drawn and compared."""

    columns: int  # of blocks that are compared
    rows: int
    drawn: int  # a round
    best: int = 0  # of them, around which the next round draws
    first_rounds: int = 1  # for the first frame
    rounds: int = 1  # and for every other
    particles: int = 0  # the best so many; 0 means all


PROPOSE = SearchEffort(columns=8, rows=6, drawn=10)
COMPARE = SearchEffort(columns=12, rows=8, drawn=16, best=6, first_rounds=2)
REFINE = SearchEffort(columns=16, rows=12, drawn=32, best=8, first_rounds=4, rounds=4, particles=2)
CLOSE_LOOK = SearchEffort(columns=32, rows=12, drawn=48, best=8, rounds=6, particles=1)
CLOSE_LOOK_START = 0.1  # of the covariance of a proposal: where a close look begins to draw


class Particles(NamedTuple):
    """Views of b cameras, g of each, the likeliest first."""

    views: Tensor  # (b g 4)
    predicted: Tensor  # (b g 3), their poses before the frame was looked at; nan where nothing was predicted
    momenta: Tensor  # (b g MOMENTUM_DIM)
    search: Tensor  # (b g 4 4), covariances within which views are searched
    covariances: Tensor  # (b g STATE_DIM STATE_DIM), of poses and velocities, see `kalman.py`
    log_weights: Tensor  # (b g)
    errors: Tensor  # (b g), photometric: mean squared differences from the frame

    def pick(self, which: Tensor) -> Particles:
        """Return some of the particles: (b k)."""
        return Particles(*(_pick(part, which) for part in self))

    def likeliest(self) -> Particles:
        """Return the first alone."""
        return Particles(*(part[:, :1] for part in self))

    def joined(self, other: Particles) -> Particles:
        """Return both."""
        return Particles(*(torch.cat(parts, dim=1) for parts in zip(self, other, strict=True)))


def localise(
    field: RadianceField, logits: PoseLogits, eye: Tensor, earlier: Particles | None, images: Tensor
) -> Particles:
    """Return from where images (b 3 H W) are seen.

    Args:
        field: renders views.
        logits: of place recognition.
        eye: (b), the offset of the eye that is expected of a proposal.
        earlier: the particles of the frame before, moved on; None for the first frame.
        images: what the frames' codes look like.
    """
    images = images.float()
    particles = _proposals(field, logits, eye, earlier, images)
    if earlier is not None:
        particles = earlier.joined(particles)
    rounds = [each.first_rounds if earlier is None else each.rounds for each in (COMPARE, REFINE)]
    starts, priors = particles.views, particles.search
    particles = _refined(field, particles, starts, priors, images, COMPARE, rounds[0])
    log_weights = particles.log_weights - SHARPNESS * (particles.errors + MIN_PHOTOMETRIC_ERROR).log()
    particles = particles._replace(log_weights=log_weights)
    particles = particles._replace(log_weights=particles.log_weights.masked_fill(_duplicates(particles), NEVER))
    likely = particles.log_weights + RECOGNITION_WEIGHT * neighbourhood_log_probability(
        logits, particles.views[..., :3]
    )
    best = likely.topk(NUM_PARTICLES).indices
    particles, starts, priors = particles.pick(best), _pick(starts, best), _pick(priors, best)
    particles = particles._replace(log_weights=particles.log_weights - particles.log_weights.logsumexp(1, keepdim=True))
    return _refined(field, particles, starts, priors, images, REFINE, rounds[1])


def _proposals(
    field: RadianceField, logits: PoseLogits, eye: Tensor, earlier: Particles | None, images: Tensor
) -> Particles:
    """Return new particles."""
    number, few = (FIRST_PROPOSALS, FIRST_NEW) if earlier is None else (PROPOSALS, NEW)
    poses, logs = propose(logits, number)
    b = len(poses)
    around = _offsets(PROPOSE.drawn).to(poses) * poses.new_tensor(PROPOSAL_STD)
    middle = torch.cat([poses, eye.reshape(-1, 1, 1).expand(-1, number, 1)], dim=-1)
    views = middle.unsqueeze(2) + torch.cat([torch.zeros_like(around[:1]), around[1:]])
    errors, nearest = photometric_error(field, views.flatten(1, 2), images, PROPOSE).unflatten(1, (number, -1)).min(-1)
    best = (RECOGNITION_WEIGHT * logs - SHARPNESS * (errors + MIN_PHOTOMETRIC_ERROR).log()).topk(few).indices
    views = _pick(views.gather(2, nearest[..., None, None].expand(-1, -1, 1, 4)).squeeze(2), best)
    search = torch.diag(poses.new_tensor(PROPOSAL_STD).square()).expand(b, few, 4, 4)
    found = Particles(
        views=views,
        predicted=poses.new_full((b, few, 3), math.nan),
        momenta=poses.new_zeros(b, few, MOMENTUM_DIM),
        search=search,
        covariances=initial_covariance(poses).expand(b, few, -1, -1),
        log_weights=poses.new_full((b, few), 0.0 if earlier is None else -PROPOSAL_PENALTY),
        errors=errors.gather(1, best),
    )
    return found if earlier is None else associate(found, earlier)


def associate(found: Particles, earlier: Particles) -> Particles:
    """Return new particles that go on from the nearest earlier one, if it is near enough to be the same camera."""
    away = found.views.unsqueeze(2) - earlier.views.unsqueeze(1)
    far = away[..., :2].norm(dim=-1) / MAX_ASSOCIATION_DISTANCE + wrap_angle(away[..., 2]).abs() / MAX_ASSOCIATION_ANGLE
    nearest = far.argmin(-1)
    near = (far.amin(-1) < 1).unsqueeze(-1)
    source = earlier.pick(nearest)
    return found._replace(
        predicted=torch.where(near, source.predicted, found.predicted),
        momenta=torch.where(near, source.momenta, earlier.momenta[:, :1]),
        covariances=torch.where(near.unsqueeze(-1), source.covariances, found.covariances),
    )


def _refined(
    field: RadianceField,
    particles: Particles,
    middle: Tensor,
    prior: Tensor,
    images: Tensor,
    effort: SearchEffort,
    rounds: int,
) -> Particles:
    """Return particles of which the first have better views, if they were thought to be at `middle` within `prior`."""
    few = effort.particles or particles.views.shape[1]
    first = particles.views[:, :few], particles.search[:, :few], middle[:, :few], prior[:, :few]
    found = refine(field, *first, images, effort, rounds)
    old = particles.views, particles.errors, particles.search
    views, errors, search = (torch.cat([a, b[:, few:]], dim=1) for a, b in zip(found, old, strict=True))
    return particles._replace(views=views, errors=errors, search=search)


def refine_pose(field: RadianceField, particles: Particles, images: Tensor) -> Particles:
    """Return particles of which the likeliest is nearer to where images (b 3 H W) are seen from: a close look.

    It takes three times as long as all that comes before, and is worth it where many imagined frames follow.
    """
    images = images.float()
    wide = torch.diag(images.new_tensor(PROPOSAL_STD).square()).expand_as(particles.search)
    near = particles._replace(search=CLOSE_LOOK_START * wide)
    found = _refined(field, near, particles.views, wide, images, CLOSE_LOOK, CLOSE_LOOK.rounds)
    return found._replace(search=particles.search)


def refine(
    field: RadianceField,
    views: Tensor,
    search: Tensor,
    middle: Tensor,
    prior: Tensor,
    images: Tensor,
    effort: SearchEffort,
    rounds: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return views near some from which images are seen: the views (b g 4), their errors (b g) and covariances.

    The cross-entropy method (Rubinstein 1999): of views drawn around the best ones so far, keep the best. A rendered
    view has edges, so gradients say little about where a better one is.

    Args:
        field: renders views.
        views: (b g 4), where to begin.
        search: (b g 4 4), covariances of what is drawn first.
        middle: (b g 4), what the views were thought to be before the frame,
        prior: (b g 4 4), and within which covariances.
        images: (b 3 H W), of the frames.
        effort: how many are drawn and compared.
        rounds: of drawing.
    """
    centre, around, best = views, search, views
    with single_precision(views.device):
        inverse = torch.linalg.inv(prior)
    for drawn in _offsets(rounds * effort.drawn).to(views).unflatten(0, (rounds, -1)):
        with single_precision(views.device):
            away = drawn @ torch.linalg.cholesky(around).mT
        places = torch.cat([centre.unsqueeze(2), best.unsqueeze(2), centre.unsqueeze(2) + away], dim=2)
        errors = photometric_error(field, places.flatten(1, 2), images, effort).unflatten(1, places.shape[1:3])
        with single_precision(views.device):
            far = places - middle.unsqueeze(2)
            prior_nats = ((far @ inverse) * far).sum(-1) / 2
            kept = (ERROR_WEIGHT * errors + prior_nats).topk(effort.best, dim=-1, largest=False).indices
            good = places.gather(2, kept.unsqueeze(-1).expand(-1, -1, -1, 4))
            best, centre = good[:, :, 0], good.mean(2)
            apart = good - centre.unsqueeze(2)
            around = WIDER * apart.mT @ apart / (effort.best - 1) + torch.diag(views.new_tensor(MIN_STD).square())
    return best, errors.gather(2, kept[..., :1]).squeeze(-1), around


def photometric_error(field: RadianceField, views: Tensor, images: Tensor, effort: SearchEffort) -> Tensor:
    """Return how badly views (b k 4) fit images (b 3 H W): (b k), means of squared differences of some blocks."""
    if field.occupancy is None or field.occupancy.clearance.device != views.device:
        field.build_occupancy()
    columns, rows = field.spread_blocks(effort.columns, effort.rows, views.device)
    frame = field.blocks(images)[:, columns][:, :, rows].unsqueeze(1)
    parts = [
        field.render_blocks(part, effort.columns, effort.rows, quick=True)
        for part in views.flatten(0, 1).split(AT_ONCE)
    ]
    return (torch.cat(parts).unflatten(0, views.shape[:2]) - frame).square().mean((2, 3, 4))


def _duplicates(particles: Particles) -> Tensor:
    """Return which particles (b g) are nearly the same as likelier ones."""
    apart = particles.views.unsqueeze(2) - particles.views.unsqueeze(1)
    same = (apart[..., :2].norm(dim=-1) < SAME_PLACE) & (wrap_angle(apart[..., 2]).abs() < SAME_HEADING)
    return (same & (particles.log_weights.unsqueeze(2) < particles.log_weights.unsqueeze(1))).any(-1)


def _pick(part: Tensor, which: Tensor) -> Tensor:
    """Return some (b k) of each row's: (b g ...) -> (b k ...)."""
    rest = part.shape[2:]
    return part.gather(1, which.reshape(*which.shape, *[1] * len(rest)).expand(*which.shape, *rest))


@functools.cache
def _offsets(number: int) -> Tensor:
    """Return offsets (number 4) spread evenly over a normal distribution, the same every time."""
    with torch.inference_mode(False):
        even = torch.quasirandom.SobolEngine(4, scramble=True, seed=0).draw(number)
        return math.sqrt(2) * torch.erfinv(2 * even.clamp(1e-3, 1 - 1e-3) - 1)
