"""The belief: where the camera is, as far as frames and actions tell, and the view that is to be seen from there next.

Attention looks at the patches of a few past frames; what is behind a corner is in none of them. But a game's world is
often the same in every episode: where the player is says what will come into view. A recurrent network takes in each
frame with the action taken after seeing it, and says from where on the map the next frame will be seen, and in which
direction. From there on the actions alone lead on, step by step, as long as there is nothing real to look at. A
radiance field paints what is seen from each pose, and comparing this with what is seen corrects it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import DynamicsConfig
from ..runtime import single_precision
from ..types import NO_ACTION
from .ego_motion import HISTORY, EgoMotion, step_back, turn
from .layers import table
from .radiance_field import RadianceField

COLUMN_DIM = 192  # of what a column of a frame shows
LONGEST = 8  # columns that are left when the frame is summed up, at most
ACTION_DIM = 64
POINTS = 32  # to a side of the map: a pose is told by how near it is to points and to headings
HEADINGS = 72  # 5 degrees apart
REACH_POINTS, REACH_HEADINGS = 1, 2  # around the likeliest, what says where between them the pose is
NEVER = -1e4  # a logit
SWAY_TICS = 20  # of the engine: the eye of Doom's walking player is as high again after so many
EYE_ERROR = 0.03  # of a sway that is seen, in heights of the eye
GUESS_SPREAD = (0.026, 0.026, 0.036, 0.07)  # of a view that is thought of from frames and actions
STEP_SPREAD = (0.003, 0.003, 0.005)  # of a step of the camera
STAY = 1.5  # leave where a step has led only for a place whose misfit is so many times less
FIT_ROWS, FIT_COLUMNS = 10, 16  # of a frame that are compared
FIT_FIRST, FIT_AGAIN = 6, 2  # rounds of drawing, for the first frame and for every other
FIT_DRAWN, FIT_KEPT = 30, 8  # views a round
FIT_AT_ONCE = 4  # frames: more do not fit a CPU's caches
FIT_WEIGHT = 900.0  # of a misfit, in nats: neighbouring blocks err alike, so they are few observations
FIT_WIDER, FIT_LEAST = 1.3, (2e-4, 2e-4, 2e-4, 2e-3)  # a round draws more widely than the best of the last one lie


class Whereabouts(NamedTuple):
    """What is thought of m poses."""

    place: Tensor  # (m POINTS*POINTS), logits of the points, row by row in x
    heading: Tensor  # (m HEADINGS), logits


@dataclass
class Memory:
    """What a belief keeps between frames: where it thinks it is, and all that it needs to go on from there."""

    beliefs: Tensor | None = None  # (b d), after the last frame that was looked at; None before the first
    pose: Tensor | None = None  # (b 3), from which the next frame is seen
    last: Tensor | None = None  # (b 2), the step that led there, ahead and to the left, as it is seen from there
    told: Tensor | None = None  # (b HISTORY-1), the last actions
    clock: Clock | None = None  # at the next frame
    spread: Tensor | None = None  # (b 3 3), the covariance of `pose`
    misfit: Tensor | None = None  # (b), of the last frame that was looked at

    def repeat(self, rows: Tensor) -> None:
        """Go on with other rows: (m), for each the number of the one that it has the past of."""
        for name, part in vars(self).items():
            if isinstance(part, Clock):
                setattr(self, name, Clock(*(each[rows] for each in part)))
            elif part is not None:
                setattr(self, name, part[rows])


class Belief(nn.Module):
    """Frames and actions so far -> where the camera is, and from that the painting of the next frame.

    A pose is x and y in -1..1 of the map and a heading in radians, counterclockwise; a view is a pose and how far the
    eye sways. A recurrent network finds the camera in the frames and actions so far; where it is to a fraction of a
    step is found by comparing what the radiance field shows from there with what is seen.
    """

    origin: Tensor
    extent: Tensor

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        self.dim = config.belief_dim
        self.rate = 2 * math.pi * config.frame_skip / SWAY_TICS
        self.columns = nn.Linear(config.code_grid * config.code_dim, COLUMN_DIM)
        halve: list[nn.Module] = [nn.ReLU()]
        left = config.code_grid
        while left > LONGEST:
            halve += [nn.Conv1d(COLUMN_DIM, COLUMN_DIM, 4, stride=2, padding=1), nn.ReLU()]
            left //= 2
        self.halve = nn.Sequential(*halve)
        self.seen = nn.Linear(left * COLUMN_DIM, self.dim)
        self.actions = table(nn.Parameter(torch.randn(len(config.action_names) + 1, ACTION_DIM)))
        self.remember = nn.GRU(self.dim + ACTION_DIM, self.dim, batch_first=True)
        self.think = nn.Linear(self.dim, self.dim)
        self.place = nn.Linear(self.dim, POINTS**2)
        self.heading = nn.Linear(self.dim, HEADINGS)
        self.ego_motion = EgoMotion(config)
        self.field = RadianceField(config)
        self.register_buffer("origin", torch.zeros(2))  # the map's middle in the game's units
        self.register_buffer("extent", torch.ones(()))  # and half of its longer side

    def forward(self, vectors: Tensor, actions: Tensor, state: Tensor | None = None) -> Tensor:
        """Return what is believed after each frame and the action that follows it: (b t d).

        Args:
            vectors: (b t h w c), of each frame's codes.
            actions: (b t), -1 where it is not told.
            state: (b d), what was believed before; None if nothing was seen yet.
        """
        seen = self.look(vectors.flatten(0, 1)).unflatten(0, actions.shape)
        inputs = torch.cat([seen, self.actions[actions]], dim=-1)
        with single_precision(vectors.device):  # what is added up over hundreds of frames
            beliefs: Tensor = self.remember(inputs, None if state is None else state.unsqueeze(0))[0]
        return beliefs

    def look(self, vectors: Tensor) -> Tensor:
        """Return what is seen in frames of their own: (m h w c) -> (m d)."""
        columns = self.columns(rearrange(vectors, "m h w c -> m w (h c)"))
        summed = self.seen(self.halve(columns.transpose(1, 2)).flatten(1))
        return F.rms_norm(summed, (self.dim,)).float()

    def locate(self, beliefs: Tensor) -> Whereabouts:
        """Return where the next frame is seen from, as far as beliefs (m d) tell."""
        thought = F.relu(self.think(beliefs))
        return Whereabouts(self.place(thought).float(), self.heading(thought).float())

    def take_in(self, vectors: Tensor, painting: Tensor, actions: Tensor, memory: Memory, *, real: bool) -> Tensor:
        """Return the view (b 4) of the next frame after one frame and the action that follows it, and remember it.

        A frame that is not real is not looked at: where the camera is follows from the actions since the last one that
        was.

        Args:
            vectors: (b h w c), of the frame's codes.
            painting: (b 3 H W), of the frame as its codes look.
            actions: (b), -1 where it is not told.
            memory: what earlier calls left behind.
            real: whether the frame is looked at; the first is always.
        """
        earlier = actions.new_full((len(actions), HISTORY - 1), NO_ACTION) if memory.told is None else memory.told
        told = torch.cat([earlier, actions.unsqueeze(1)], dim=1)
        last = painting.new_zeros(len(actions), 2) if memory.last is None else memory.last
        clock = Clock.unknown(last) if memory.clock is None else memory.clock
        if real or memory.pose is None:
            memory.beliefs = self(vectors.unsqueeze(1), actions.unsqueeze(1), memory.beliefs)[:, 0]
            guess = pose(self.locate(memory.beliefs))
            guess = step_back(guess, self.ego_motion.step(guess, told, last))
            eye = clock.sway(self.field.swing(last))
            found = self._find(guess, memory.pose, memory.spread, eye, painting)
            here, memory.misfit, spread = found.views[:, :3], found.misfits, found.spreads[:, :3, :3]
            clock = clock.seen(self.field.swing(last), found.views[:, 3])
        else:
            assert memory.spread is not None
            here, spread = memory.pose, memory.spread
        memory.pose, memory.last = self.ego_motion(here, told, last)
        memory.spread = spread_after(here, memory.pose, spread)
        memory.told, memory.clock = told[:, 1:], clock.later(self.rate)
        return torch.cat([memory.pose, memory.clock.sway(self.field.swing(memory.last)).unsqueeze(1)], dim=1)

    def follow(
        self, vectors: Tensor, paintings: Tensor, actions: Tensor, memory: Memory, *, seen: int | None = None
    ) -> Tensor:
        """Return the views (b t 4) after each of several frames: `take_in`, frame by frame.

        Args:
            vectors: (b t h w c).
            paintings: (b t 3 H W).
            actions: (b t).
            memory: what earlier calls left behind.
            seen: the first so many frames are looked at; None means all.
        """
        count = actions.shape[1]
        seen = count if seen is None else seen
        steps = [
            self.take_in(vectors[:, t], paintings[:, t], actions[:, t], memory, real=t < seen) for t in range(count)
        ]
        return torch.stack(steps, dim=1)

    def paint(self, views: Tensor) -> Tensor:
        """Return the paintings of views (b t 4), in standardised colours: (b t 3 H W)."""
        return self.field.view(views.flatten(0, 1)).unflatten(0, views.shape[:2])

    def _find(
        self, guess: Tensor, expected: Tensor | None, spread: Tensor | None, eye: Tensor, painting: Tensor
    ) -> Fit:
        """Return the views (b 4) from which a frame is seen.

        Args:
            guess: (b 3), where the recurrent network thinks it is.
            expected: (b 3), where the camera has to be if it was where it was thought to be before; or None.
            spread: (b 3 3), the covariance of that.
            eye: (b), the sway that is expected.
            painting: (b 3 H W), of the frame.
        """
        usual = torch.diag_embed(guess.new_tensor(GUESS_SPREAD).square()).expand(len(guess), 4, 4)
        begun = torch.cat([guess, eye.unsqueeze(1)], dim=1)
        if expected is None or spread is None:
            return fit(self.field, begun, usual, painting, rounds=FIT_FIRST)
        along = usual.clone()
        along[:, :3, :3] = spread
        starts = torch.cat([begun, torch.cat([expected, eye.unsqueeze(1)], dim=1)])
        both = fit(self.field, starts, torch.cat([usual, along]), torch.cat([painting, painting]), rounds=FIT_AGAIN)
        guessed, followed = (Fit(*parts) for parts in zip(*(part.chunk(2) for part in both), strict=True))
        stays = followed.misfits < STAY * guessed.misfits
        chosen = (
            torch.where(stays.reshape(-1, *[1] * (one.ndim - 1)), one, other)
            for one, other in zip(followed, guessed, strict=True)
        )
        return Fit(*chosen)

    def views(self, places: Tensor, numbers: Tensor) -> Tensor:
        """Return the views (b t 4) of recorded frames.

        Args:
            places: (b t+1 3), x, y and angle in the game's units, one frame earlier as well.
            numbers: (b t), how many frames of the episode come before each.
        """
        poses = self.to_map(places)
        before, now = poses[:, :-1].flatten(0, 1), poses[:, 1:].flatten(0, 1)
        swings = self.field.swing(last_step(before, now))
        phases = self.rate * numbers.flatten().to(swings.dtype)
        eye = (swings * torch.stack([phases.sin(), phases.cos()], dim=-1)).sum(-1, keepdim=True)
        return torch.cat([now, eye], dim=-1).unflatten(0, numbers.shape)

    def settle(self, low: Tensor, high: Tensor) -> None:
        """Say how large the map is: the least and the greatest x and y (2), in the game's units."""
        self.origin.copy_((low + high) / 2)
        self.extent.copy_(((high - low).max() / 2).clamp(min=1.0))

    def to_map(self, places: Tensor) -> Tensor:
        """Return the game's x, y and angle in degrees (... 3) as poses."""
        return torch.cat([(places[..., :2] - self.origin) / self.extent, places[..., 2:] * (math.pi / 180)], dim=-1)


class Clock(NamedTuple):
    """What is known of the phase in which the eye sways while the player walks: it goes on wherever he stands still.

    A Kalman filter of the phase's sine and cosine, which are observed through their product with how far it sways.
    """

    mean: Tensor  # (b 2)
    spread: Tensor  # (b 2 2)

    @classmethod
    def unknown(cls, like: Tensor) -> Clock:
        """Return the clock at which every phase is as likely, for as many rows as `like` (b ...) has."""
        return cls(like.new_zeros(len(like), 2), (0.5 * torch.eye(2).to(like)).expand(len(like), 2, 2))

    def sway(self, swings: Tensor) -> Tensor:
        """Return how far the eye is above its rest (b), under swings (b 2)."""
        return (self.mean * swings).sum(-1)

    def seen(self, swings: Tensor, eye: Tensor) -> Clock:
        """Return what is known when the eye is seen at `eye` (b) under swings (b 2)."""
        across = (self.spread * swings.unsqueeze(1)).sum(-1)
        gain = across / ((across * swings).sum(-1) + EYE_ERROR**2).unsqueeze(-1)
        mean = self.mean + gain * (eye - self.sway(swings)).unsqueeze(-1)
        return Clock(mean, self.spread - gain.unsqueeze(2) * across.unsqueeze(1))

    def later(self, angle: float) -> Clock:
        """Return what is known when the phase has gone on by an angle."""
        cos, sin = math.cos(angle), math.sin(angle)
        turned = self.mean.new_tensor([[cos, sin], [-sin, cos]])  # of (sine, cosine)
        with single_precision(turned.device):
            return Clock(self.mean @ turned.T, turned @ self.spread @ turned.T)


def last_step(before: Tensor, now: Tensor) -> Tensor:
    """Return how far it is from poses to poses (m 3), ahead and to the left as it is seen from the latter: (m 2)."""
    return turn((now - before)[:, :2], -now[:, 2])


def spread_after(before: Tensor, after: Tensor, spread: Tensor) -> Tensor:
    """Return the covariance (m 3 3) of poses after steps (m 3) from poses of covariance `spread` (m 3 3)."""
    away = after - before
    slopes = torch.eye(3).to(spread).repeat(len(spread), 1, 1)
    slopes[:, 0, 2], slopes[:, 1, 2] = -away[:, 1], away[:, 0]  # who looked elsewhere has gone elsewhere
    with single_precision(spread.device):
        return slopes @ spread @ slopes.mT + torch.diag(spread.new_tensor(STEP_SPREAD).square())


class Fit(NamedTuple):
    """Views that were found by `fit`."""

    views: Tensor  # (m 4)
    misfits: Tensor  # (m), mean squared differences from what is seen
    spreads: Tensor  # (m 4 4), covariances


def fit(field: RadianceField, views: Tensor, spread: Tensor, paintings: Tensor, *, rounds: int) -> Fit:
    """Return the views near some from which paintings (m 3 H W) are seen.

    The cross-entropy method (Rubinstein 1999): of views drawn around the best ones so far, keep the best. What a view
    shows has edges, so slopes say little about where a better one is.

    Args:
        field: that says what is seen from where.
        views: (m 4), where to begin.
        spread: (m 4 4), covariances of how far off they may be.
        paintings: of what is seen.
        rounds: of drawing.
    """
    rows, columns = (
        ((torch.arange(count, device=views.device) + 0.5) * (whole / count)).long()
        for count, whole in ((min(FIT_ROWS, field.rows), field.rows), (min(FIT_COLUMNS, field.columns), field.columns))
    )
    observed = field.blocks(paintings)[:, columns][:, :, rows].unsqueeze(1)

    def misfit(places: Tensor, seen: Tensor) -> Tensor:
        flat = places.flatten(0, 1)
        shown = field(flat, columns.expand(len(flat), -1), rows.expand(len(flat), len(columns), -1))
        return (shown.unflatten(0, places.shape[:2]) - seen).square().mean((2, 3, 4))

    centre, around, best = views, spread, views
    offsets = _offsets(rounds * FIT_DRAWN).to(views).unflatten(0, (rounds, FIT_DRAWN))
    for drawn in offsets:
        with single_precision(views.device):
            away = drawn @ torch.linalg.cholesky(around).mT
        places = torch.cat([centre.unsqueeze(1), best.unsqueeze(1), centre.unsqueeze(1) + away], dim=1)
        parts = zip(places.split(FIT_AT_ONCE), observed.split(FIT_AT_ONCE), strict=True)
        misfits = torch.cat([misfit(*part) for part in parts])
        with single_precision(views.device):
            far = places - views.unsqueeze(1)
            unlikely = (far * torch.linalg.solve(spread, far.mT).mT).sum(-1) / 2
            kept = (FIT_WEIGHT * misfits + unlikely).topk(FIT_KEPT, dim=-1, largest=False).indices
            good = places.gather(1, kept.unsqueeze(-1).expand(-1, -1, 4))
            best, centre = good[:, 0], good.mean(1)
            apart = good - centre.unsqueeze(1)
            around = FIT_WIDER * apart.mT @ apart / (FIT_KEPT - 1) + torch.diag(views.new_tensor(FIT_LEAST).square())
    return Fit(best, misfits.gather(1, kept[:, :1]).squeeze(1), around)


@functools.cache
def _offsets(number: int) -> Tensor:
    """Return offsets (number 4) spread evenly over a normal distribution, the same every time."""
    with torch.inference_mode(False):
        even = torch.quasirandom.SobolEngine(4, scramble=True, seed=0).draw(number)
        return math.sqrt(2) * torch.erfinv(2 * even.clamp(1e-3, 1 - 1e-3) - 1)


def pose(where: Whereabouts) -> Tensor:
    """Return the likeliest poses (m 3): the means of the likeliest point and heading and of what is around them."""
    corner = _likeliest_corner(where.place)
    heading = where.heading.argmax(-1, keepdim=True)
    near = torch.arange(-REACH_HEADINGS, REACH_HEADINGS + 1, device=heading.device)
    weights = where.heading.gather(1, (heading + near) % HEADINGS).softmax(-1)
    turned = heading + (weights * near).sum(-1, keepdim=True)
    return torch.cat([corner * (2 / (POINTS - 1)) - 1, turned * (2 * math.pi / HEADINGS)], dim=-1)


def _likeliest_corner(logits: Tensor) -> Tensor:
    """Return the mean row and column (m 2) around the likeliest point."""
    best = logits.argmax(-1)
    rows, columns = best // POINTS, best % POINTS
    near = torch.arange(-REACH_POINTS, REACH_POINTS + 1, device=logits.device)
    away = torch.cartesian_prod(near, near)  # (9 2)
    around = F.pad(logits.unflatten(-1, (POINTS, POINTS)), (REACH_POINTS,) * 4, value=NEVER).flatten(1)
    places = torch.stack([rows, columns], dim=-1).unsqueeze(1) + away  # (m 9 2)
    weights = around.gather(1, ((places + REACH_POINTS) * places.new_tensor([POINTS + 2 * REACH_POINTS, 1])).sum(-1))
    return (weights.softmax(-1).unsqueeze(-1) * places).sum(1)


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
