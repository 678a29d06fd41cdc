"""The belief: where the camera is, as far as frames and actions tell, and the view that is to be seen from there next.

Attention looks at the patches of a few past frames; what is behind a corner is in none of them. But a game's world is
often the same in every episode: where the player is says what will come into view. A recurrent network takes in each
frame with the action taken after seeing it, and says from where on the map the next frame will be seen, and in which
direction. From there on the actions alone lead on, step by step, as long as there is nothing real to look at. A radiance
field paints what is seen from each pose, and comparing this with what is seen corrects it.
"""

from __future__ import annotations

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
GUESS_SPREAD = (0.017, 0.017, 0.017, 0.1)  # of a view that is thought of from frames and actions
STEP_SPREAD = (0.0065, 0.0065, 0.01, 0.1)  # of a view a step after one that was found
STAY = 1.25  # leave where a step has led only for a place whose misfit is so many times less
FIT_ROWS, FIT_COLUMNS = 7, 32  # of a frame that are compared
FIT_BLURS = (4, 4, 2, 2, 1, 1)  # columns that are averaged, step by step
FIT_PROBE = (0.004, 0.004, 0.008, 0.02)  # steps of a view to see what they change
FIT_ERROR, FIT_NUMBERS = 0.05, 90.0  # squared error of a view that fits, and how many numbers err on their own
FIT_DAMPING, FIT_STRIDE = 0.05, 4.0


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
    misfit: Tensor | None = None  # (b), of the last frame that was looked at


class Belief(nn.Module):
    """Frames and actions so far -> where the camera is, and from that the painting of the next frame.

    A pose is x and y in -1..1 of the map and a heading in radians, counterclockwise; a view is a pose and how far the
    eye sways. A recurrent network finds the camera in the frames and actions so far; where it is to a fraction of a step
    is found by comparing what the radiance field shows from there with what is seen.
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
            view, memory.misfit = self._find(guess, memory.pose, clock.sway(self.field.swing(last)), painting)
            clock, here = clock.seen(self.field.swing(last), view[:, 3]), view[:, :3]
        else:
            here = memory.pose
        memory.pose, memory.last = self.ego_motion(here, told, last)
        memory.told, memory.clock = told[:, 1:], clock.later(self.rate)
        return torch.cat([memory.pose, memory.clock.sway(self.field.swing(memory.last)).unsqueeze(1)], dim=1)

    def _find(self, guess: Tensor, expected: Tensor | None, eye: Tensor, painting: Tensor) -> tuple[Tensor, Tensor]:
        """Return the view (b 4) from which a frame is seen, and its misfit (b).

        Args:
            guess: (b 3), where the recurrent network thinks it is.
            expected: (b 3), where the camera has to be if it was where it was thought to be before; or None.
            eye: (b), the sway that is expected.
            painting: (b 3 H W), of the frame.
        """
        starts, spreads = [guess], [GUESS_SPREAD]
        if expected is not None:
            starts, spreads = [guess, expected], [GUESS_SPREAD, STEP_SPREAD]
        begun = torch.cat([torch.cat([start, eye.unsqueeze(1)], dim=1) for start in starts])
        spread = torch.cat([begun.new_tensor(each).expand(len(eye), -1) for each in spreads])
        views, misfits = fit(self.field, begun, spread, torch.cat([painting] * len(starts)))
        if expected is None:
            return views, misfits
        (guessed, followed), (at_guess, at_expected) = views.chunk(2), misfits.chunk(2)
        stays = at_expected < STAY * at_guess
        return torch.where(stays.unsqueeze(1), followed, guessed), torch.where(stays, at_expected, at_guess)

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
        across = torch.einsum("bij,bj->bi", self.spread, swings)
        gain = across / ((across * swings).sum(-1) + EYE_ERROR**2).unsqueeze(-1)
        mean = self.mean + gain * (eye - self.sway(swings)).unsqueeze(-1)
        return Clock(mean, self.spread - torch.einsum("bi,bj->bij", gain, across))

    def later(self, angle: float) -> Clock:
        """Return what is known when the phase has gone on by an angle."""
        cos, sin = math.cos(angle), math.sin(angle)
        turned = self.mean.new_tensor([[cos, sin], [-sin, cos]])  # of (sine, cosine)
        return Clock(self.mean @ turned.T, turned @ self.spread @ turned.T)


def last_step(before: Tensor, now: Tensor) -> Tensor:
    """Return how far it is from poses to poses (m 3), ahead and to the left as it is seen from the latter: (m 2)."""
    return turn((now - before)[:, :2], -now[:, 2])


def fit(field: RadianceField, views: Tensor, spread: Tensor, paintings: Tensor) -> tuple[Tensor, Tensor]:
    """Return the views (m 4) near some from which paintings (m 3 H W) are seen, and how badly they fit (m).

    Least squares (Gauss-Newton) over some rows of the frame, first blurred along them: what is far off by more than a
    detail is found by what is larger.

    Args:
        field: that says what is seen from where.
        views: (m 4), where to begin.
        spread: (m 4), standard deviations of how far off they may be.
        paintings: of what is seen.
    """
    rows, columns = (
        ((torch.arange(count, device=views.device) + 0.5) * (whole / count)).long()
        for count, whole in ((min(FIT_ROWS, field.rows), field.rows), (min(FIT_COLUMNS, field.columns), field.columns))
    )
    observed = field.blocks(paintings)[:, columns][:, :, rows]
    probe = views.new_tensor(FIT_PROBE)
    away = torch.cat([torch.zeros(1, 4), torch.eye(4)]).to(views) * probe
    share = FIT_NUMBERS / observed[0].numel() / FIT_ERROR  # neighbouring blocks err alike: they are few observations

    def seen_from(places: Tensor) -> Tensor:
        m = len(places)
        painted: Tensor = field(places, columns.expand(m, -1), rows.expand(m, len(columns), -1))
        return painted

    precision = (probe / spread).square()  # (m 4), of where it began
    found = views
    for width in FIT_BLURS:
        shown = seen_from((found.unsqueeze(1) + away).flatten(0, 1)).unflatten(0, (-1, 5))
        shown, target = _blur(shown, width), _blur(observed, width)
        missed = (target - shown[:, 0]).flatten(1)
        slopes = (shown[:, 1:] - shown[:, :1]).flatten(2)
        weighed = slopes / (1 + missed.square() / (4 * FIT_ERROR)).unsqueeze(1)  # what is quite wrong says little
        normal = share * weighed @ slopes.mT + torch.diag_embed(precision)
        normal = normal + FIT_DAMPING * torch.diag_embed(normal.diagonal(dim1=1, dim2=2))
        pull = share * (weighed @ missed.unsqueeze(-1)).squeeze(-1) - precision * (found - views) / probe
        found = found + torch.linalg.solve(normal, pull).clamp(-FIT_STRIDE, FIT_STRIDE) * probe
    return found, (seen_from(found) - observed).square().mean((1, 2, 3))


def _blur(blocks: Tensor, width: int) -> Tensor:
    """Return blocks (... columns rows n) averaged over about `width` columns, twice."""
    if width == 1:
        return blocks
    lines = blocks.movedim(-3, -1)
    flat = lines.reshape(-1, 1, lines.shape[-1])
    for _ in range(2):
        flat = F.avg_pool1d(flat, width + 1, stride=1, padding=width // 2, count_include_pad=False)
    return flat.reshape(lines.shape).movedim(-1, -3)


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
