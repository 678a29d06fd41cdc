"""The belief: where the camera is, as far as frames and actions tell, and the view that is to be seen from there next.

Attention looks at the patches of a few past frames; what is behind a corner is in none of them. But a game's world is
often the same in every episode: where the player is says what will come into view. A recurrent network takes in each
frame with the action taken after seeing it, and says from where on the map the next frame will be seen, and in which
direction. From there on the actions alone lead on, step by step, as long as there is nothing real to look at. A light
field paints what is seen from each pose.
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
from .ego_motion import HISTORY, EgoMotion
from .layers import table
from .light_field import HINT_DIM, LightField

COLUMN_DIM = 192  # of what a column of a frame shows
LONGEST = 8  # columns that are left when the frame is summed up, at most
ACTION_DIM = 64
POINTS = 32  # to a side of the map: a pose is told by how near it is to points and to headings
HEADINGS = 72  # 5 degrees apart
REACH_POINTS, REACH_HEADINGS = 1, 2  # around the likeliest, what says where between them the pose is
NEVER = -1e4  # a logit


class Whereabouts(NamedTuple):
    """What is thought of m poses."""

    place: Tensor  # (m POINTS*POINTS), logits of the points, row by row in x
    heading: Tensor  # (m HEADINGS), logits


class Outlook(NamedTuple):
    """From where frames are to be seen (... 3), and what else is known of them (... HINT_DIM)."""

    poses: Tensor
    hints: Tensor


@dataclass
class Memory:
    """What a belief keeps between frames."""

    beliefs: Tensor | None = None  # (b d), after the last frame that was looked at; None before the first
    pose: Tensor | None = None  # (b 3), from which the next frame is seen
    told: Tensor | None = None  # (b HISTORY-1), the last actions


class Belief(nn.Module):
    """Frames and actions so far -> a vector, from it where the camera is, and from that the painting of the next frame.

    The painting is what is seen from the likeliest pose; right after a real frame, hints of what else is believed blur
    it where that is not sure. A pose is x and y in -1..1 of the map and a heading in radians, counterclockwise.
    """

    origin: Tensor
    extent: Tensor

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        self.dim = config.belief_dim
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
        self.hint = nn.Linear(self.dim, HINT_DIM)
        self.ego_motion = EgoMotion(config)
        self.light_field = LightField(config)
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

    def outlook(self, beliefs: Tensor) -> Outlook:
        """Return from where the next frame is seen after frames that were looked at: of beliefs (... d)."""
        flat = beliefs.flatten(0, -2)
        poses, hints = pose(self.locate(flat)), self.hint(flat).float()
        return Outlook(poses.unflatten(0, beliefs.shape[:-1]), hints.unflatten(0, beliefs.shape[:-1]))

    def reckon(self, outlook: Outlook, actions: Tensor, seen: Tensor) -> Outlook:
        """Return the outlook (b t ...) where only the first `seen` (b) of t frames are looked at, at least one.

        Args:
            outlook: if all of them were.
            actions: (b t), the one after each frame.
            seen: int64 (b).
        """
        told = F.pad(actions, (HISTORY - 1, 0), value=NO_ACTION).unfold(1, HISTORY, 1)
        poses = list(outlook.poses.unbind(1))
        blind = unseen(len(poses), seen)
        for t in range(max(1, int(seen.min())), len(poses)):
            poses[t] = torch.where(blind[:, t : t + 1], self.ego_motion(poses[t - 1], told[:, t]), poses[t])
        return Outlook(torch.stack(poses, dim=1), outlook.hints.masked_fill(blind.unsqueeze(-1), 0.0))

    def take_in(self, vectors: Tensor, actions: Tensor, memory: Memory, *, real: bool) -> Outlook:
        """Return the outlook after one frame (b h w c) and its action (b), and remember it.

        A frame that is not real is not looked at: where the camera is follows from the actions since the last one that
        was.
        """
        earlier = actions.new_full((len(actions), HISTORY - 1), NO_ACTION) if memory.told is None else memory.told
        told = torch.cat([earlier, actions.unsqueeze(1)], dim=1)
        if real or memory.pose is None:
            memory.beliefs = self(vectors.unsqueeze(1), actions.unsqueeze(1), memory.beliefs)[:, 0]
            outlook = self.outlook(memory.beliefs)
        else:
            hints = memory.pose.new_zeros(len(actions), HINT_DIM)
            outlook = Outlook(self.ego_motion(memory.pose, told), hints)
        memory.pose, memory.told = outlook.poses, told[:, 1:]
        return outlook

    def paint(self, outlook: Outlook) -> Tensor:
        """Return the expected paintings, in standardised colours: (... 3 H W)."""
        views = self.light_field.view(outlook.poses.flatten(0, -2), outlook.hints.flatten(0, -2))
        return views.unflatten(0, outlook.poses.shape[:-1])

    def settle(self, low: Tensor, high: Tensor) -> None:
        """Say how large the map is: the least and the greatest x and y (2), in the game's units."""
        self.origin.copy_((low + high) / 2)
        self.extent.copy_(((high - low).max() / 2).clamp(min=1.0))

    def to_map(self, places: Tensor) -> Tensor:
        """Return the game's x, y and angle in degrees (... 3) as poses."""
        return torch.cat([(places[..., :2] - self.origin) / self.extent, places[..., 2:] * (math.pi / 180)], dim=-1)


def unseen(frames: int, seen: Tensor) -> Tensor:
    """Return which of `frames` frames are not looked at if the first `seen` (b) are: bool (b t)."""
    return torch.arange(frames, device=seen.device) >= seen.unsqueeze(1)


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
