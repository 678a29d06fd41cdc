"""Place recognition: a recurrent network says from where on the map the last frame may have been seen.

A pose is expressed by logits over a grid of points and a circle of headings; the likeliest pairs are proposed to the
particle filter.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..dynamics.layers import table
from ..runtime import single_precision
from .config import LearnedMapConfig

COLUMN_DIM = 192  # of what a column of a frame shows
MAX_COLUMNS = 8  # that are left when the frame is summed up
ACTION_DIM = 64
POINTS = 32  # to a side of the map
HEADINGS = 72  # 5 degrees apart
NEAR_POINTS, NEAR_HEADINGS = 1, 2  # around a likely one, of which the proposed pose is the mean
NEVER = -1e4  # a logit
MIN_PROBABILITY = 1e-4  # of the neighbourhood of a pose: the network may be wrong
PLACES, DIRECTIONS = 6, 4  # the likeliest, of which proposals are made


class PoseLogits(NamedTuple):
    """The network's logits of m poses."""

    place: Tensor  # (m POINTS*POINTS), of the points, row by row in x
    heading: Tensor  # (m HEADINGS)


class PlaceRecognition(nn.Module):
    """Frames and the actions between them -> a memory after each, and from that logits of the pose."""

    def __init__(self, config: LearnedMapConfig) -> None:
        super().__init__()
        self.dim = config.memory_dim
        self.columns = nn.Linear(config.code_grid * config.code_dim, COLUMN_DIM)
        downsample: list[nn.Module] = [nn.ReLU()]
        left = config.code_grid
        while left > MAX_COLUMNS:
            downsample += [nn.Conv1d(COLUMN_DIM, COLUMN_DIM, 4, stride=2, padding=1), nn.ReLU()]
            left //= 2
        self.downsample = nn.Sequential(*downsample)
        self.summary = nn.Linear(left * COLUMN_DIM, self.dim)
        self.actions = table(nn.Parameter(torch.randn(len(config.action_names) + 1, ACTION_DIM)))
        self.recurrent = nn.GRU(self.dim + ACTION_DIM, self.dim, batch_first=True)
        self.hidden = nn.Linear(self.dim, self.dim)
        self.place = nn.Linear(self.dim, POINTS**2)
        self.heading = nn.Linear(self.dim, HEADINGS)

    def forward(self, vectors: Tensor, actions: Tensor, memory: Tensor | None = None) -> Tensor:
        """Return the memory after each frame and the action before it: (b t d).

        Args:
            vectors: (b t h w c), of each frame's codes.
            actions: (b t), -1 where it is unknown, and for the first frame.
            memory: (b d), before; None if nothing was seen yet.
        """
        embedded = self.embed(vectors.flatten(0, 1)).unflatten(0, actions.shape)
        inputs = torch.cat([embedded, self.actions[actions]], dim=-1)
        with single_precision(vectors.device):  # sums over hundreds of frames
            memories: Tensor = self.recurrent(inputs, None if memory is None else memory.unsqueeze(0))[0]
        return memories

    def embed(self, vectors: Tensor) -> Tensor:
        """Return a summary of single frames: (m h w c) -> (m d)."""
        columns = self.columns(rearrange(vectors, "m h w c -> m w (h c)"))
        summary = self.summary(self.downsample(columns.transpose(1, 2)).flatten(1))
        return F.rms_norm(summary, (self.dim,)).float()

    def locate(self, memories: Tensor) -> PoseLogits:
        """Return where the last frame is seen from, as far as memories (m d) tell."""
        hidden = F.relu(self.hidden(memories))
        return PoseLogits(self.place(hidden).float(), self.heading(hidden).float())


def propose(logits: PoseLogits, number: int) -> tuple[Tensor, Tensor]:
    """Return the likeliest poses (m number 3), of all pairs of places and headings, and their log probabilities.

    A pose is the mean of a point that is likelier than its neighbours and of these, and of such a heading.
    """
    place, heading = logits
    on_map = place.unflatten(-1, (POINTS, POINTS)).unsqueeze(1)
    peaks = place.masked_fill((on_map < F.max_pool2d(on_map, 3, stride=1, padding=1)).flatten(1), 2 * NEVER)
    around = F.max_pool1d(F.pad(heading.unsqueeze(1), (1, 1), mode="circular"), 3, stride=1).squeeze(1)
    turns = heading.masked_fill(heading < around, 2 * NEVER)
    place_logs, points = (peaks - place.logsumexp(-1, keepdim=True)).topk(PLACES)
    turn_logs, directions = (turns - heading.logsumexp(-1, keepdim=True)).topk(DIRECTIONS)
    logs, pairs = (place_logs.unsqueeze(2) + turn_logs.unsqueeze(1)).flatten(1).topk(number)
    points, directions = points.gather(1, pairs // DIRECTIONS), directions.gather(1, pairs % DIRECTIONS)

    near = torch.arange(-NEAR_HEADINGS, NEAR_HEADINGS + 1, device=place.device)
    shares = heading.gather(1, ((directions.unsqueeze(-1) + near) % HEADINGS).flatten(1)).unflatten(1, (number, -1))
    turned = directions + (shares.softmax(-1) * near).sum(-1)
    away = torch.cartesian_prod(*[torch.arange(-NEAR_POINTS, NEAR_POINTS + 1, device=place.device)] * 2)  # (9 2)
    wide = F.pad(on_map.squeeze(1), (NEAR_POINTS,) * 4, value=NEVER).flatten(1)
    places = torch.stack([points // POINTS, points % POINTS], dim=-1).unsqueeze(2) + away  # (m number 9 2)
    index = ((places + NEAR_POINTS) * places.new_tensor([POINTS + 2 * NEAR_POINTS, 1])).sum(-1)
    weights = wide.gather(1, index.flatten(1)).unflatten(1, (number, -1)).softmax(-1)
    corner = (weights.unsqueeze(-1) * places).sum(2)
    poses = torch.cat([corner * (2 / (POINTS - 1)) - 1, (turned * (2 * math.pi / HEADINGS)).unsqueeze(-1)], dim=-1)
    return poses, logs


def neighbourhood_log_probability(logits: PoseLogits, poses: Tensor) -> Tensor:
    """Return the log probability of the neighbourhood of poses (m g 3): (m g)."""
    place = ((poses[..., :2] + 1) * ((POINTS - 1) / 2)).round().long().clamp(0, POINTS - 1)
    heading = (poses[..., 2] * (HEADINGS / (2 * math.pi))).round().long() % HEADINGS
    shares = logits.place.softmax(-1).unflatten(-1, (POINTS, POINTS)).unsqueeze(1)
    around = (9 * F.avg_pool2d(shares, 3, stride=1, padding=1)).flatten(1)
    turns = logits.heading.softmax(-1)
    turns = turns + turns.roll(1, -1) + turns.roll(-1, -1)
    at, towards = around.gather(1, place[..., 0] * POINTS + place[..., 1]), turns.gather(1, heading)
    return at.clamp(min=MIN_PROBABILITY).log() + towards.clamp(min=MIN_PROBABILITY).log()


def two_hot_nll(logits: PoseLogits, poses: Tensor) -> Tensor:
    """Return the mean nats of poses (m 3) under logits of the points and headings around them.

    A pose between points counts for each as much as it is near (two-hot targets, Schrittwieser et al. 2020, appendix F,
    here in two dimensions and around a circle), so the mean of the points is the pose and not the nearest point.
    """
    place = ((poses[:, :2] + 1) * ((POINTS - 1) / 2)).clamp(0, POINTS - 1)
    heading = torch.remainder(poses[:, 2] / (2 * math.pi), 1) * HEADINGS
    (row, column), ahead = place.floor().long().clamp(max=POINTS - 2).unbind(-1), heading.long() % HEADINGS
    down, right, turned = place[:, 0] - row, place[:, 1] - column, heading - heading.floor()
    places, headings = logits.place.log_softmax(-1), logits.heading.log_softmax(-1)

    def weighted(logs: Tensor, index: Tensor, share: Tensor) -> Tensor:
        return -(share * logs.gather(1, index.unsqueeze(1)).squeeze(1)).mean()

    nats = weighted(headings, ahead, 1 - turned) + weighted(headings, (ahead + 1) % HEADINGS, turned)
    for i, vertical in ((0, 1 - down), (1, down)):
        for j, horizontal in ((0, 1 - right), (1, right)):
            nats = nats + weighted(places, (row + i) * POINTS + column + j, vertical * horizontal)
    return nats
