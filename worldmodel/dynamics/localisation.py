"""Where on the map a frame is seen from: several guesses, each as likely as what is seen from there and before tells.

Rooms look alike. So the camera is thought to be in several places at once, and each of them goes on with every step;
a recurrent network proposes others. All of them are compared with what is seen (Monte Carlo localisation, Dellaert et
al. 1999, with proposals mixed in, Thrun et al. 2001), and the best are refined by drawing around them.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..runtime import single_precision
from .ego_motion import MOMENTUM_DIM, shorter_turn
from .radiance_field import RadianceField
from .track import lost

POINTS = 32  # to a side of the map: a pose is told by how near it is to points and to headings
HEADINGS = 72  # 5 degrees apart
REACH_POINTS, REACH_HEADINGS = 1, 2  # around a likely one, what says where between them the pose is
NEVER = -1e4  # a logit
LEAST_SHARE = 1e-4  # of what the network thinks of the neighbourhood of a pose: it may be wrong
PLACES, DIRECTIONS = 6, 4  # the likeliest, of which proposals are made
FIRST_PROPOSALS, PROPOSALS = 16, 8  # for the first frame, and for every other
FIRST_NEW, NEW = 6, 3  # of them are looked at more closely
KEPT = 3  # guesses
PROPOSED_SPREAD = (0.026, 0.026, 0.036, 0.07)  # of a view that is proposed
ASTRAY, ASTRAY_TURN = 0.032, 0.35  # from where a player was expected he is not found: that was somebody else
NEWCOMER = 4.0  # nats that a proposal is less likely than what was thought of before, all of it together
SHARPNESS, LEAST_MISFIT = 10.0, 0.004  # a misfit is by its power so much less likely, if it is not less than that
NETWORK = 0.7  # the power of the network's opinion
SAME_PLACE, SAME_HEADING = 0.017, 0.07  # guesses that are nearer are one
WEIGHT = 900.0  # of a misfit, in nats, where views of one guess are compared: neighbouring blocks err alike
WIDER, LEAST = 1.3, (2e-4, 2e-4, 2e-4, 2e-3)  # a round draws more widely than the best of the last one lie
AT_ONCE = 96  # views: more do not fit a CPU's caches


@dataclass(frozen=True)
class Effort:
    """How views are drawn and compared."""

    columns: int  # of blocks that are compared
    rows: int
    drawn: int  # a round
    best: int = 0  # of them, around which the next round draws
    first_rounds: int = 1  # for the first frame
    rounds: int = 1  # and for every other
    guesses: int = 0  # the best so many; 0 means all


PROPOSE = Effort(columns=8, rows=6, drawn=10)
COMPARE = Effort(columns=12, rows=8, drawn=16, best=6, first_rounds=2)
REFINE = Effort(columns=16, rows=12, drawn=32, best=8, first_rounds=4, rounds=4, guesses=2)
CLOSELY = Effort(columns=32, rows=12, drawn=48, best=8, rounds=6, guesses=1)
NEAR = 0.1  # of the covariance of a proposal: how far from the likeliest view a closer look begins


class Whereabouts(NamedTuple):
    """What the network thinks of m poses."""

    place: Tensor  # (m POINTS*POINTS), logits of the points, row by row in x
    heading: Tensor  # (m HEADINGS), logits


class Guesses(NamedTuple):
    """Views of b cameras, g of each, the likeliest first."""

    views: Tensor  # (b g 4)
    expected: Tensor  # (b g 3), their poses before the frame was looked at; nan where nothing was expected
    momenta: Tensor  # (b g MOMENTUM_DIM)
    spreads: Tensor  # (b g 4 4), covariances of where to look for them
    errors: Tensor  # (b g STATE_DIM STATE_DIM), covariances of poses and speeds, see `track.py`
    weights: Tensor  # (b g), logarithms of how likely they are
    misfits: Tensor  # (b g), mean squared differences from what is seen

    def pick(self, which: Tensor) -> Guesses:
        """Return some of the guesses: (b k)."""
        return Guesses(*(_pick(part, which) for part in self))

    def likeliest(self) -> Guesses:
        """Return the first alone."""
        return Guesses(*(part[:, :1] for part in self))

    def joined(self, other: Guesses) -> Guesses:
        """Return both."""
        return Guesses(*(torch.cat(parts, dim=1) for parts in zip(self, other, strict=True)))


def localise(
    field: RadianceField, where: Whereabouts, eye: Tensor, earlier: Guesses | None, paintings: Tensor
) -> Guesses:
    """Return from where paintings (b 3 H W) are seen.

    Args:
        field: that says what is seen from where.
        where: what the network thinks of it.
        eye: (b), the sway that is expected of a new guess.
        earlier: the guesses for the frame before, moved on; None for the first frame.
        paintings: of what is seen.
    """
    paintings = paintings.float()
    guesses = _proposals(field, where, eye, earlier, paintings)
    if earlier is not None:
        guesses = earlier.joined(guesses)
    rounds = [each.first_rounds if earlier is None else each.rounds for each in (COMPARE, REFINE)]
    starts, priors = guesses.views, guesses.spreads
    guesses = _refined(field, guesses, starts, priors, paintings, COMPARE, rounds[0])
    guesses = guesses._replace(weights=guesses.weights - SHARPNESS * (guesses.misfits + LEAST_MISFIT).log())
    guesses = guesses._replace(weights=guesses.weights.masked_fill(_doubles(guesses), NEVER))
    likely = guesses.weights + NETWORK * likelihood(where, guesses.views[..., :3])
    best = likely.topk(KEPT).indices
    guesses, starts, priors = guesses.pick(best), _pick(starts, best), _pick(priors, best)
    guesses = guesses._replace(weights=guesses.weights - guesses.weights.logsumexp(1, keepdim=True))
    return _refined(field, guesses, starts, priors, paintings, REFINE, rounds[1])


def _proposals(
    field: RadianceField, where: Whereabouts, eye: Tensor, earlier: Guesses | None, paintings: Tensor
) -> Guesses:
    """Return new guesses."""
    number, few = (FIRST_PROPOSALS, FIRST_NEW) if earlier is None else (PROPOSALS, NEW)
    poses, logs = propose(where, number)
    b = len(poses)
    around = _offsets(PROPOSE.drawn).to(poses) * poses.new_tensor(PROPOSED_SPREAD)
    middle = torch.cat([poses, eye.reshape(-1, 1, 1).expand(-1, number, 1)], dim=-1)
    views = middle.unsqueeze(2) + torch.cat([torch.zeros_like(around[:1]), around[1:]])
    misfits, nearest = misfit(field, views.flatten(1, 2), paintings, PROPOSE).unflatten(1, (number, -1)).min(-1)
    best = (NETWORK * logs - SHARPNESS * (misfits + LEAST_MISFIT).log()).topk(few).indices
    views = _pick(views.gather(2, nearest[..., None, None].expand(-1, -1, 1, 4)).squeeze(2), best)
    spread = torch.diag(poses.new_tensor(PROPOSED_SPREAD).square()).expand(b, few, 4, 4)
    found = Guesses(
        views=views,
        expected=poses.new_full((b, few, 3), math.nan),
        momenta=poses.new_zeros(b, few, MOMENTUM_DIM),
        spreads=spread,
        errors=lost(poses).expand(b, few, -1, -1),
        weights=poses.new_full((b, few), 0.0 if earlier is None else -NEWCOMER),
        misfits=misfits.gather(1, best),
    )
    return found if earlier is None else _kin(found, earlier)


def _kin(found: Guesses, earlier: Guesses) -> Guesses:
    """Return new guesses that go on from the nearest earlier one, if it is near enough to be the same player's."""
    away = found.views.unsqueeze(2) - earlier.views.unsqueeze(1)
    far = away[..., :2].norm(dim=-1) / ASTRAY + shorter_turn(away[..., 2]).abs() / ASTRAY_TURN
    nearest = far.argmin(-1)
    near = (far.amin(-1) < 1).unsqueeze(-1)
    kin = earlier.pick(nearest)
    return found._replace(
        expected=torch.where(near, kin.expected, found.expected),
        momenta=torch.where(near, kin.momenta, earlier.momenta[:, :1]),
        errors=torch.where(near.unsqueeze(-1), kin.errors, found.errors),
    )


def _refined(
    field: RadianceField,
    guesses: Guesses,
    middle: Tensor,
    prior: Tensor,
    paintings: Tensor,
    effort: Effort,
    rounds: int,
) -> Guesses:
    """Return guesses of which the first have better views, if they were thought to be at `middle` within `prior`."""
    few = effort.guesses or guesses.views.shape[1]
    first = guesses.views[:, :few], guesses.spreads[:, :few], middle[:, :few], prior[:, :few]
    found = refine(field, *first, paintings, effort, rounds)
    old = guesses.views, guesses.misfits, guesses.spreads
    views, misfits, spreads = (torch.cat([a, b[:, few:]], dim=1) for a, b in zip(found, old, strict=True))
    return guesses._replace(views=views, misfits=misfits, spreads=spreads)


def look_closely(field: RadianceField, guesses: Guesses, paintings: Tensor) -> Guesses:
    """Return guesses of which the likeliest is nearer to where paintings (b 3 H W) are seen from.

    It takes three times as long as all that comes before, and is worth it where much that is not seen follows.
    """
    paintings = paintings.float()
    wide = torch.diag(paintings.new_tensor(PROPOSED_SPREAD).square()).expand_as(guesses.spreads)
    near = guesses._replace(spreads=NEAR * wide)
    found = _refined(field, near, guesses.views, wide, paintings, CLOSELY, CLOSELY.rounds)
    return found._replace(spreads=guesses.spreads)


def refine(
    field: RadianceField,
    views: Tensor,
    spreads: Tensor,
    middle: Tensor,
    prior: Tensor,
    paintings: Tensor,
    effort: Effort,
    rounds: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return views near some from which paintings are seen: the views (b g 4), their misfits (b g) and spreads.

    The cross-entropy method (Rubinstein 1999): of views drawn around the best ones so far, keep the best. What a view
    shows has edges, so slopes say little about where a better one is.

    Args:
        field: that says what is seen from where.
        views: (b g 4), where to begin.
        spreads: (b g 4 4), covariances of what is drawn first.
        middle: (b g 4), what the views were thought to be before anything was seen,
        prior: (b g 4 4), and within which covariances.
        paintings: (b 3 H W), of what is seen.
        effort: how many are drawn and compared.
        rounds: of drawing.
    """
    centre, around, best = views, spreads, views
    with single_precision(views.device):
        inverse = torch.linalg.inv(prior)
    for drawn in _offsets(rounds * effort.drawn).to(views).unflatten(0, (rounds, -1)):
        with single_precision(views.device):
            away = drawn @ torch.linalg.cholesky(around).mT
        places = torch.cat([centre.unsqueeze(2), best.unsqueeze(2), centre.unsqueeze(2) + away], dim=2)
        misfits = misfit(field, places.flatten(1, 2), paintings, effort).unflatten(1, places.shape[1:3])
        with single_precision(views.device):
            far = places - middle.unsqueeze(2)
            unlikely = ((far @ inverse) * far).sum(-1) / 2
            kept = (WEIGHT * misfits + unlikely).topk(effort.best, dim=-1, largest=False).indices
            good = places.gather(2, kept.unsqueeze(-1).expand(-1, -1, -1, 4))
            best, centre = good[:, :, 0], good.mean(2)
            apart = good - centre.unsqueeze(2)
            around = WIDER * apart.mT @ apart / (effort.best - 1) + torch.diag(views.new_tensor(LEAST).square())
    return best, misfits.gather(2, kept[..., :1]).squeeze(-1), around


def misfit(field: RadianceField, views: Tensor, paintings: Tensor, effort: Effort) -> Tensor:
    """Return how badly views (b k 4) fit paintings (b 3 H W): (b k), means of squared differences of some blocks."""
    if field.survey is None or field.survey.clear.device != views.device:
        field.explore()
    columns, rows = field.spread_blocks(effort.columns, effort.rows, views.device)
    seen = field.blocks(paintings)[:, columns][:, :, rows].unsqueeze(1)
    parts = [field.some(part, effort.columns, effort.rows, quick=True) for part in views.flatten(0, 1).split(AT_ONCE)]
    return (torch.cat(parts).unflatten(0, views.shape[:2]) - seen).square().mean((2, 3, 4))


def _doubles(guesses: Guesses) -> Tensor:
    """Return which guesses (b g) are nearly the same as likelier ones."""
    apart = guesses.views.unsqueeze(2) - guesses.views.unsqueeze(1)
    same = (apart[..., :2].norm(dim=-1) < SAME_PLACE) & (shorter_turn(apart[..., 2]).abs() < SAME_HEADING)
    return (same & (guesses.weights.unsqueeze(2) < guesses.weights.unsqueeze(1))).any(-1)


def propose(where: Whereabouts, number: int) -> tuple[Tensor, Tensor]:
    """Return the likeliest poses (m number 3), of all pairs of places and headings, and their logarithms (m number).

    A pose is the mean of a point that is likelier than its neighbours and of these, and of such a heading.
    """
    place, heading = where
    on_map = place.unflatten(-1, (POINTS, POINTS)).unsqueeze(1)
    peaks = place.masked_fill((on_map < F.max_pool2d(on_map, 3, stride=1, padding=1)).flatten(1), 2 * NEVER)
    around = F.max_pool1d(F.pad(heading.unsqueeze(1), (1, 1), mode="circular"), 3, stride=1).squeeze(1)
    turns = heading.masked_fill(heading < around, 2 * NEVER)
    place_logs, points = (peaks - place.logsumexp(-1, keepdim=True)).topk(PLACES)
    turn_logs, directions = (turns - heading.logsumexp(-1, keepdim=True)).topk(DIRECTIONS)
    logs, pairs = (place_logs.unsqueeze(2) + turn_logs.unsqueeze(1)).flatten(1).topk(number)
    points, directions = points.gather(1, pairs // DIRECTIONS), directions.gather(1, pairs % DIRECTIONS)

    near = torch.arange(-REACH_HEADINGS, REACH_HEADINGS + 1, device=place.device)
    shares = heading.gather(1, ((directions.unsqueeze(-1) + near) % HEADINGS).flatten(1)).unflatten(1, (number, -1))
    turned = directions + (shares.softmax(-1) * near).sum(-1)
    away = torch.cartesian_prod(*[torch.arange(-REACH_POINTS, REACH_POINTS + 1, device=place.device)] * 2)  # (9 2)
    wide = F.pad(on_map.squeeze(1), (REACH_POINTS,) * 4, value=NEVER).flatten(1)
    places = torch.stack([points // POINTS, points % POINTS], dim=-1).unsqueeze(2) + away  # (m number 9 2)
    index = ((places + REACH_POINTS) * places.new_tensor([POINTS + 2 * REACH_POINTS, 1])).sum(-1)
    weights = wide.gather(1, index.flatten(1)).unflatten(1, (number, -1)).softmax(-1)
    corner = (weights.unsqueeze(-1) * places).sum(2)
    poses = torch.cat([corner * (2 / (POINTS - 1)) - 1, (turned * (2 * math.pi / HEADINGS)).unsqueeze(-1)], dim=-1)
    return poses, logs


def likelihood(where: Whereabouts, poses: Tensor) -> Tensor:
    """Return the logarithm of how likely the network thinks the neighbourhood of poses (m g 3) to be: (m g)."""
    place = ((poses[..., :2] + 1) * ((POINTS - 1) / 2)).round().long().clamp(0, POINTS - 1)
    heading = (poses[..., 2] * (HEADINGS / (2 * math.pi))).round().long() % HEADINGS
    shares = where.place.softmax(-1).unflatten(-1, (POINTS, POINTS)).unsqueeze(1)
    around = (9 * F.avg_pool2d(shares, 3, stride=1, padding=1)).flatten(1)
    turns = where.heading.softmax(-1)
    turns = turns + turns.roll(1, -1) + turns.roll(-1, -1)
    at, towards = around.gather(1, place[..., 0] * POINTS + place[..., 1]), turns.gather(1, heading)
    return at.clamp(min=LEAST_SHARE).log() + towards.clamp(min=LEAST_SHARE).log()


def unlikelihood(where: Whereabouts, poses: Tensor) -> Tensor:
    """Return the mean nats of telling poses (m 3) by the points and headings around them.

    A pose between points counts for each as much as it is near (two-hot targets, Schrittwieser et al. 2020, appendix F,
    here in two dimensions and around a circle), so the mean of the points is the pose and not the nearest point.
    """
    place = ((poses[:, :2] + 1) * ((POINTS - 1) / 2)).clamp(0, POINTS - 1)
    heading = torch.remainder(poses[:, 2] / (2 * math.pi), 1) * HEADINGS
    (row, column), ahead = place.floor().long().clamp(max=POINTS - 2).unbind(-1), heading.long() % HEADINGS
    down, right, turned = place[:, 0] - row, place[:, 1] - column, heading - heading.floor()
    places, headings = where.place.log_softmax(-1), where.heading.log_softmax(-1)

    def told(logs: Tensor, index: Tensor, share: Tensor) -> Tensor:
        return -(share * logs.gather(1, index.unsqueeze(1)).squeeze(1)).mean()

    nats = told(headings, ahead, 1 - turned) + told(headings, (ahead + 1) % HEADINGS, turned)
    for i, vertical in ((0, 1 - down), (1, down)):
        for j, horizontal in ((0, 1 - right), (1, right)):
            nats = nats + told(places, (row + i) * POINTS + column + j, vertical * horizontal)
    return nats


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
