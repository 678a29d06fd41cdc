"""Which action led from one frame to the next? An inverse-dynamics probe: a small network that reads it off the pixels.

It is trained on real frames only and asked about episodes it has never seen: see probes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ...rollouts import EpisodeDataset

NAME = "inverse-dynamics probe"
SIDE = 48  # pixels: what the probe sees; a turn or a step moves the view by several of them
STACK = 3  # frames: before the action is chosen, when it is, and after it; the first tells how fast the player was
STEPS = 500  # of training: about fifteen seconds on one core
BATCH = 64
LEARNING_RATE = 2e-3
WIDTH = 96  # of the penultimate layer, whose outputs are the features


class Probe(nn.Module):
    """What `see` made of stacks of frames -> logits over the actions."""

    def __init__(self, num_actions: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(3 * STACK, 32, kernel=5),
            *_block(32, 48, kernel=3),
            *_block(48, 64, kernel=3),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(64 * (SIDE // 8) ** 2, WIDTH),
            nn.ReLU(),
        )
        self.head = nn.Linear(WIDTH, num_actions)

    def forward(self, seen: Tensor) -> Tensor:
        """Return logits (n a) for (n c h w)."""
        logits: Tensor = self.head(self.features(seen))
        return logits


def _block(channels: int, width: int, *, kernel: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, width, kernel, stride=2, padding=kernel // 2), nn.GroupNorm(8, width), nn.ReLU()


def shrink(frames: np.ndarray) -> Tensor:
    """Return uint8 (t c h w), SIDE pixels wide, for uint8 (t H W 3)."""
    pixels = torch.from_numpy(rearrange(frames, "t H W c -> t c H W")).float()
    return F.interpolate(pixels, (SIDE, SIDE), mode="area").round().to(torch.uint8)


def stacked(frames: Tensor) -> Tensor:
    """Return every STACK consecutive frames: (t c h w) -> (t-2 s c h w)."""
    return frames[torch.arange(len(frames) - STACK + 1)[:, None] + torch.arange(STACK)]


def see(stacks: Tensor) -> Tensor:
    """Return float (n c' h w) for uint8 (n s c h w), s = STACK: the middle frame and both changes."""
    before, now, after = (stacks.float() / 127.5 - 1).unbind(1)
    return torch.cat([now, now - before, after - now], dim=1)


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Stacks of shrunk real frames, the action that was chosen in the middle of each, and the episode it is of."""

    stacks: Tensor  # uint8 (n s c h w)
    actions: Tensor  # int64 (n)
    episodes: Tensor  # int64 (n)

    def of(self, chosen: Tensor) -> Examples:
        """Return some of the examples: bool (n)."""
        return Examples(stacks=self.stacks[chosen], actions=self.actions[chosen], episodes=self.episodes[chosen])


def draw_examples(dataset: EpisodeDataset, *, number: int, seed: int) -> Examples:
    """Return all examples of a data set, or `number` drawn uniformly where there are more.

    Raises:
        ValueError: if none of the episodes has STACK frames.
    """
    lengths = dataset.lengths.tolist()
    places = np.array([(e, t) for e, length in enumerate(lengths) for t in range(length - STACK + 1)], dtype=np.int64)
    if not len(places):
        raise ValueError(f"the episodes are shorter than {STACK} frames: nothing to train a probe on")
    places = np.random.default_rng(seed).permutation(places)[:number]
    stacks, actions, episodes = [], [], []
    for episode in np.unique(places[:, 0]):
        starts = places[places[:, 0] == episode, 1]
        frames = dataset.frames(int(episode), 0, int(dataset.lengths[episode]))
        seen = np.unique(starts[:, None] + np.arange(STACK))
        stacks.append(shrink(frames[seen])[np.searchsorted(seen, starts[:, None] + np.arange(STACK))])
        actions.append(torch.from_numpy(dataset.actions(int(episode))[starts + STACK - 2]))
        episodes.append(torch.full((len(starts),), int(episode)))
    return Examples(stacks=torch.cat(stacks), actions=torch.cat(actions).long(), episodes=torch.cat(episodes))


def mirror_images(action_names: Sequence[str]) -> Tensor:
    """Return which action each one is in a mirror, int64 (a); itself, where some mirror image has no name."""
    names = list(action_names)
    mirrors = [mirror_name(name) for name in names]
    known = mirrors if set(mirrors) <= set(names) else names
    return torch.tensor([names.index(name) for name in known])


def mirror_name(name: str) -> str:
    """Return the action's name in a mirror: left for right, also inside forward+left and strafe_left."""
    return name.replace("left", "\0").replace("right", "left").replace("\0", "right")


def recoloured(seen: Tensor) -> Tensor:
    """Return the same stacks in other colours, drawn for each: what moves tells the action, not what is seen there."""
    mix = torch.eye(3) + 0.5 * torch.randn(len(seen), 3, 3)
    mixed = torch.einsum("nkc,nschw->nskhw", mix, rearrange(seen, "n (s c) h w -> n s c h w", c=3))
    return rearrange(mixed, "n s c h w -> n (s c) h w")


def train_probe(
    examples: Examples,
    action_names: Sequence[str],
    *,
    seed: int,
    steps: int = STEPS,
    on_step: Callable[[], None] = lambda: None,
) -> Probe:
    """Return a probe trained on `examples` and their mirror images; the same seed gives the same probe.

    An action weighs by the inverse root of its frequency: rare ones count as much as others in a macro F1.
    """
    mirror = mirror_images(action_names)
    mirrors = not torch.equal(mirror, torch.arange(len(mirror)))
    both = torch.cat([examples.actions, mirror[examples.actions]])
    weights = torch.bincount(both, minlength=len(mirror)).clamp(min=1) ** -0.5
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        probe = Probe(len(mirror))
        optimizer = torch.optim.AdamW(probe.parameters(), weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
        for _ in range(steps):
            batch = torch.randint(len(examples.actions), (BATCH,))
            stacks, actions = examples.stacks[batch], examples.actions[batch]
            if mirrors:
                half = slice(0, BATCH // 2)
                stacks[half], actions[half] = stacks[half].flip(-1), mirror[actions[half]]
            loss = F.cross_entropy(probe(recoloured(see(stacks))), actions, weight=weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            on_step()
    return probe.eval()


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Return the F1 averaged over the actions that were asked or answered: counts (... asked answered) -> (...)."""
    right = np.einsum("...ii->...i", confusion).astype(np.float64)
    involved = confusion.sum(-1) + confusion.sum(-2)
    f1 = 2 * right / np.maximum(involved, 1)
    return np.asarray(f1.sum(-1) / np.maximum((involved > 0).sum(-1), 1))


def confusions(asked: np.ndarray, answered: np.ndarray, num_actions: int) -> np.ndarray:
    """Return how often what was taken for what in each clip: int64 (b n) twice -> (b a a). -1 is not asked about."""
    counts = np.zeros((len(asked), num_actions, num_actions), np.int64)
    clips, places = np.nonzero(asked >= 0)
    np.add.at(counts, (clips, asked[clips, places], answered[clips, places]), 1)
    return counts
