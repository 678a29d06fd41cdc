"""The belief: where the camera is, as far as frames and actions tell, and the view that is to be seen from there next.

Attention looks at the patches of a few past frames; what is behind a corner is in none of them. But a game's world is
often the same in every episode: where the player is says what will come into view. A recurrent network takes in each
frame with the action taken before it, and says from where on the map it may have been seen. What is to be seen from
there, which a radiance field paints, is compared with what is seen. From there on the actions alone lead on, step by
step, as long as there is nothing real to look at.
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
from .ego_motion import HISTORY, MOMENTUM_DIM, STILL, EgoMotion, last_step
from .layers import table
from .localisation import (
    COMPARE,
    HEADINGS,
    POINTS,
    PROPOSED_SPREAD,
    Guesses,
    Whereabouts,
    localise,
    look_closely,
    misfit,
)
from .radiance_field import RadianceField
from .track import seen, step_on

COLUMN_DIM = 192  # of what a column of a frame shows
LONGEST = 8  # columns that are left when the frame is summed up, at most
ACTION_DIM = 64
SWAY_TICS = 20  # of the engine: the eye of Doom's walking player is as high again after so many
EYE_ERROR = 0.015  # of a sway that is seen, in heights of the eye
STEP_SPREAD = (0.002, 0.002, 0.003)  # of a step of the camera
NEWEST = 0.5  # share of the newest misfit in the doubt
ELSEWHERE = 0.3  # squared error of what is seen from a place that only looks alike
UNKNOWN_MISFIT = 0.1  # of a frame, where none was looked at before
FADING = 0.005  # the same of each step that was not looked at


class Outlook(NamedTuple):
    """What is thought of frames that are to come."""

    views: Tensor  # (b t 4), from where they are seen
    doubts: Tensor  # (b t), how far off their paintings are: the mean squared error, in standardised colours


@dataclass
class Memory:
    """What a belief keeps between frames: where it thinks it is, and all that it needs to go on from there."""

    beliefs: Tensor | None = None  # (b d), after the last frame that was looked at; None before the first
    guesses: Guesses | None = None  # from where the frame that comes next is seen; blindly, the likeliest alone
    told: Tensor | None = None  # (b HISTORY-1), the last actions
    seen: Guesses | None = None  # from where the last frame that was looked at is seen
    way: Tensor | None = None  # (b n HISTORY), the actions before each step that was taken since
    clock: Clock | None = None  # at that frame
    misfit: Tensor | None = None  # (b), of the frames that were looked at, the newest most
    doubt: Tensor | None = None  # (b), of that frame
    looked: bool = False  # whether that frame was looked at
    closely: bool = False  # whether frames are looked at closely: it takes longer and tells more

    def repeat(self, rows: Tensor) -> None:
        """Go on with other rows: (m), for each the number of the one that it has the past of."""
        for name, part in vars(self).items():
            if isinstance(part, Guesses | Clock):
                setattr(self, name, type(part)(*(each[rows] for each in part)))
            elif isinstance(part, Tensor):
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
        """Return what is believed after each frame and the action before it: (b t d).

        Args:
            vectors: (b t h w c), of each frame's codes.
            actions: (b t), -1 where it is not told, and for the first frame.
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
        """Return where the last frame is seen from, as far as beliefs (m d) tell."""
        thought = F.relu(self.think(beliefs))
        return Whereabouts(self.place(thought).float(), self.heading(thought).float())

    def take_in(self, vectors: Tensor, painting: Tensor, actions: Tensor, memory: Memory, *, real: bool) -> Outlook:
        """Return the outlook (b 4), (b) on the next frame after one frame and the action that follows it; remember it.

        A frame that is not real is not looked at: where the camera is follows from the actions since the last one that
        was.

        Args:
            vectors: (b h w c), of the frame's codes.
            painting: (b 3 H W), of the frame as its codes look.
            actions: (b), -1 where it is not told.
            memory: what earlier calls left behind.
            real: whether the frame is looked at, unless it was already; the first is always.
        """
        if not memory.looked and (real or memory.guesses is None):
            self.look_at(vectors, painting, memory)
        return self._go(actions, memory)

    def look_at(self, vectors: Tensor, painting: Tensor, memory: Memory) -> None:
        """Find out from where one frame is seen, and remember it. See `take_in`."""
        nothing = torch.full((len(vectors),), NO_ACTION, device=vectors.device)
        before = nothing if memory.told is None else memory.told[:, -1]
        memory.beliefs = self(vectors.unsqueeze(1), before.unsqueeze(1), memory.beliefs)[:, 0]
        earlier = self._caught_up(memory)
        clock = Clock.unknown(painting) if memory.clock is None else memory.clock
        momenta = painting.new_zeros(len(painting), MOMENTUM_DIM) if earlier is None else earlier.momenta[:, 0]
        eye = clock.sway(self.field.swing(momenta[:, :2]))
        memory.guesses = localise(self.field, self.locate(memory.beliefs), eye, earlier, painting)
        if memory.closely:
            memory.guesses = look_closely(self.field, memory.guesses, painting)
        memory.guesses = _on_track(memory.guesses, closely=memory.closely)
        likeliest = memory.guesses.momenta[:, 0, :2], memory.guesses.views[:, 0, 3]
        memory.clock = clock.seen(self.field.swing(likeliest[0]), likeliest[1])
        rivals = 1 - memory.guesses.weights[:, 0].exp()
        newest = memory.guesses.misfits[:, 0]
        memory.misfit = newest if memory.misfit is None else torch.lerp(memory.misfit, newest, NEWEST)
        memory.doubt = memory.misfit + ELSEWHERE * rivals
        memory.looked = True

    def _go(self, actions: Tensor, memory: Memory) -> Outlook:
        """Return the outlook (b 4), (b) on the next frame after actions (b), and remember it."""
        assert memory.guesses is not None
        assert memory.clock is not None
        assert memory.doubt is not None
        earlier = actions.new_full((len(actions), HISTORY - 1), NO_ACTION) if memory.told is None else memory.told
        told = torch.cat([earlier, actions.unsqueeze(1)], dim=1)
        if memory.looked:
            memory.seen, memory.way = memory.guesses, told.unsqueeze(1)
            there = self._step(memory.guesses, told)
        else:
            assert memory.way is not None
            memory.way = torch.cat([memory.way, told.unsqueeze(1)], dim=1)
            there = self._step(memory.guesses.likeliest(), told, blindly=True)
            memory.doubt = memory.doubt + FADING
        memory.told, memory.clock, memory.looked = told[:, 1:], memory.clock.later(self.rate), False
        memory.guesses = self._raise_eye(there, memory.clock)
        return Outlook(memory.guesses.views[:, 0], memory.doubt)

    def _step(self, guesses: Guesses, told: Tensor, *, blindly: bool = False) -> Guesses:
        """Return guesses (b g) one step later, after actions (b HISTORY); the eye's height is as it was.

        Blindly, errors stay as they were as well: nobody asks for them before a frame is looked at again.
        """
        b, g = guesses.weights.shape
        poses, momenta, errors = (
            each.flatten(0, 1) for each in (guesses.views[..., :3], guesses.momenta, guesses.errors)
        )
        rows = told.repeat_interleave(g, 0)
        if blindly:
            poses, momenta = self.ego_motion(poses, rows, momenta)
        else:
            poses, momenta, errors = step_on(self.ego_motion, poses, rows, momenta, errors)
        return guesses._replace(
            views=torch.cat([poses.unflatten(0, (b, g)), guesses.views[..., 3:]], dim=-1),
            expected=poses.unflatten(0, (b, g)),
            momenta=momenta.unflatten(0, (b, g)),
            spreads=where_to_look(errors).unflatten(0, (b, g)),
            errors=errors.unflatten(0, (b, g)),
        )

    def _raise_eye(self, guesses: Guesses, clock: Clock) -> Guesses:
        """Return guesses (b g) with the eye as high as it is at that time."""
        swings = self.field.swing(guesses.momenta[..., :2].flatten(0, 1)).unflatten(0, guesses.weights.shape)
        return guesses._replace(views=torch.cat([guesses.views[..., :3], clock.sway(swings).unsqueeze(-1)], dim=-1))

    def _caught_up(self, memory: Memory) -> Guesses | None:
        """Return all guesses at the frame that is looked at now: the likeliest alone may have gone on without them."""
        if memory.way is None or memory.way.shape[1] == 1:
            return memory.guesses
        assert memory.seen is not None
        assert memory.clock is not None
        guesses = memory.seen
        for told in memory.way.unbind(1):
            guesses = self._step(guesses, told)
        return self._raise_eye(guesses, memory.clock)

    def follow(
        self, vectors: Tensor, paintings: Tensor, actions: Tensor, memory: Memory, *, seen: int | None = None
    ) -> Outlook:
        """Return the outlook (b t 4), (b t) after each of several frames: `take_in`, frame by frame.

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
        return Outlook(*(torch.stack(parts, dim=1) for parts in zip(*steps, strict=True)))

    def paint(self, views: Tensor) -> Tensor:
        """Return the paintings of views (b t 4), in standardised colours: (b t 3 H W)."""
        return self.field.view(views.flatten(0, 1)).unflatten(0, views.shape[:2])

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

    def outlook(self, views: Tensor, paintings: Tensor, seen: int) -> Outlook:
        """Return the outlook on frames whose views (b t 4) are known, about.

        Args:
            views: from where they are seen.
            paintings: (b t 3 H W), of the frame before each.
            seen: so many of these are looked at: how badly they fit says how far off what follows is.
        """
        looked = paintings[:, 1:seen]
        if not looked.shape[1]:
            misfits = views.new_full((*views.shape[:1], 1), UNKNOWN_MISFIT)
        else:
            fits = [
                misfit(self.field, view.unsqueeze(1), painting, COMPARE)
                for view, painting in zip(views[:, : looked.shape[1]].unbind(1), looked.unbind(1), strict=True)
            ]
            misfits = torch.cat(fits, dim=1)
        misfits = torch.cat([misfits[:, :1], misfits], dim=1)  # nobody said from where the first is seen
        steps = torch.arange(views.shape[1], device=views.device)
        looked_at = steps.clamp(max=seen - 1)
        return Outlook(views, misfits[:, looked_at] + FADING * (steps - looked_at))

    def settle(self, low: Tensor, high: Tensor) -> None:
        """Say how large the map is: the least and the greatest x and y (2), in the game's units."""
        self.origin.copy_((low + high) / 2)
        self.extent.copy_(((high - low).max() / 2).clamp(min=1.0))
        self.ego_motion.still.copy_(STILL / self.extent)

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
        """Return how far the eye is above its rest (b ...), under swings (b ... 2)."""
        return (self.mean.reshape(len(self.mean), *[1] * (swings.ndim - 2), 2) * swings).sum(-1)

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


def _on_track(guesses: Guesses, *, closely: bool) -> Guesses:
    """Return guesses (b g) after their views were found, with what is known of them from all views so far."""
    b, g = guesses.weights.shape
    parts = guesses.views[..., :3], guesses.expected, guesses.momenta, guesses.errors
    poses, momenta, errors = (
        part.unflatten(0, (b, g)) for part in seen(*(part.flatten(0, 1) for part in parts), closely=closely)
    )
    views = torch.cat([poses, guesses.views[..., 3:]], dim=-1)
    return guesses._replace(views=views, momenta=momenta, errors=errors)


def where_to_look(errors: Tensor) -> Tensor:
    """Return the covariance (m 4 4) of views whose errors (m STATE_DIM STATE_DIM) these are, and a little more."""
    spread = torch.diag(errors.new_tensor(PROPOSED_SPREAD).square()).repeat(len(errors), 1, 1)
    spread[:, :3, :3] = errors[:, :3, :3] + torch.diag(errors.new_tensor(STEP_SPREAD).square())
    return spread
