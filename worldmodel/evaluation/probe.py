"""Which action led from one frame to the next? An inverse-dynamics probe: a small network that reads it off the pixels.

It is trained on real frames only and asked about episodes it has never seen: the episodes are dealt into folds, each
fold has a probe trained on all other folds, and a clip is labelled by the probe of its own fold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..rollouts import EpisodeDataset
from .clips import Clips

NAME = "inverse-dynamics probe"
SIDE = 48  # pixels: what the probe sees; a turn or a step moves the view by several of them
STACK = 3  # frames: before the action is chosen, when it is, and after it; the first tells how fast the player was
FOLDS = 3
MAX_EXAMPLES = 3000  # to train on, before they are mirrored
STEPS = 250  # of training: about fifteen seconds on one core
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


def see(stacks: np.ndarray) -> Tensor:
    """Return float (n c h w) for uint8 (n s H W 3), s = STACK: the middle frame and both changes, SIDE pixels wide."""
    pixels = torch.from_numpy(rearrange(stacks, "n s H W c -> (n s) c H W")).float() / 127.5 - 1
    small = F.interpolate(pixels, (SIDE, SIDE), mode="area")
    before, now, after = rearrange(small, "(n s) c h w -> s n c h w", s=STACK).unbind()
    return torch.cat([now, now - before, after - now], dim=1)


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Stacks of real frames as the probe sees them, and the action that was chosen in the middle of each."""

    seen: Tensor  # float (n c h w)
    actions: Tensor  # int64 (n)


def draw_examples(dataset: EpisodeDataset, episodes: Sequence[int], *, number: int, seed: int) -> Examples:
    """Return all examples of some episodes, or `number` drawn uniformly where there are more.

    Raises:
        ValueError: if none of the episodes has STACK frames.
    """
    places = np.array([(e, t) for e in episodes for t in range(int(dataset.lengths[e]) - STACK + 1)], dtype=np.int64)
    if not len(places):
        raise ValueError(f"episodes {list(episodes)} are shorter than {STACK} frames: nothing to train a probe on")
    places = np.random.default_rng(seed).permutation(places)[:number]
    seen, actions = [], []
    for episode in np.unique(places[:, 0]):
        starts = places[places[:, 0] == episode, 1]
        frames = dataset.frames(int(episode), 0, int(dataset.lengths[episode]))
        seen.append(see(frames[starts[:, None] + np.arange(STACK)]))
        actions.append(torch.from_numpy(dataset.actions(int(episode))[starts + STACK - 2]))
    return Examples(seen=torch.cat(seen), actions=torch.cat(actions).long())


def mirrored(examples: Examples, action_names: Sequence[str]) -> Examples:
    """Return the examples and their mirror images, in whose actions left and right are exchanged.

    Where the mirror image of a name is not among the names, the examples alone.
    """
    mirrors = [mirror_name(name) for name in action_names]
    if not set(mirrors) <= set(action_names):
        return examples
    partner = torch.tensor([list(action_names).index(name) for name in mirrors])
    return Examples(
        seen=torch.cat([examples.seen, examples.seen.flip(-1)]),
        actions=torch.cat([examples.actions, partner[examples.actions]]),
    )


def mirror_name(name: str) -> str:
    """Return the action's name in a mirror: left for right, also inside forward+left and strafe_left."""
    return name.replace("left", "\0").replace("right", "left").replace("\0", "right")


def recoloured(seen: Tensor) -> Tensor:
    """Return the same stacks in other colours, drawn for each: what moves tells the action, not what is seen there."""
    mix = torch.eye(3) + 0.5 * torch.randn(len(seen), 3, 3)
    mixed = torch.einsum("nkc,nschw->nskhw", mix, rearrange(seen, "n (s c) h w -> n s c h w", c=3))
    return rearrange(mixed, "n s c h w -> n (s c) h w")


def train_probe(
    examples: Examples, num_actions: int, *, seed: int, steps: int = STEPS, on_step: Callable[[], None] = lambda: None
) -> Probe:
    """Return a probe trained on `examples`; the same seed gives the same probe.

    An action weighs by the inverse root of its frequency: rare ones count as much as others in a macro F1.
    """
    weights = torch.bincount(examples.actions, minlength=num_actions).clamp(min=1) ** -0.5
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        probe = Probe(num_actions)
        optimizer = torch.optim.AdamW(probe.parameters(), weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
        for _ in range(steps):
            batch = torch.randint(len(examples.actions), (BATCH,))
            logits = probe(recoloured(examples.seen[batch]))
            loss = F.cross_entropy(logits, examples.actions[batch], weight=weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            on_step()
    return probe.eval()


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One probe for each fold of the episodes, none of which has seen its own fold."""

    probes: list[Probe]
    action_names: tuple[str, ...]

    def folds(self, clips: Clips) -> np.ndarray:
        """Return the fold of each clip, int64 (b)."""
        return np.array([fold_of(episode, len(self.probes)) for episode, _ in clips.places], dtype=np.int64)

    def label(self, frames: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """Return int64 (b t-2): what seems to have been done between frames 2 and 3, 3 and 4 ... of (b t H W 3)."""
        return self._apply(lambda probe, seen: probe(seen).argmax(-1), frames, folds).astype(np.int64)

    def features(self, frames: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """Return float32 (b t-2 d): the penultimate layer on each stack of uint8 (b t H W 3).

        Those of different folds come from different networks and cannot be compared.
        """
        return self._apply(lambda probe, seen: probe.features(seen), frames, folds)

    @torch.inference_mode()
    def _apply(self, ask: Callable[[Probe, Tensor], Tensor], frames: np.ndarray, folds: np.ndarray) -> np.ndarray:
        answers = [
            ask(self.probes[fold], see(stacks_of(clip))).numpy() for clip, fold in zip(frames, folds, strict=True)
        ]
        return np.stack(answers)


def stacks_of(frames: np.ndarray) -> np.ndarray:
    """Return every STACK consecutive frames: uint8 (t H W 3) -> (t-2 s H W 3)."""
    return frames[np.arange(len(frames) - STACK + 1)[:, None] + np.arange(STACK)]


def fold_of(episode: int, folds: int) -> int:
    """Episodes are dealt to the folds in turn."""
    return episode % folds


def train_panel(
    dataset: EpisodeDataset, *, seed: int, quick: bool = False, report: Callable[[int, int], None] = lambda d, t: None
) -> Panel:
    """Return a probe for each fold.

    Raises:
        ValueError: if there is only one episode, of which nothing could be held out.
    """
    count, steps = len(dataset), STEPS // 5 if quick else STEPS
    if count < 2:
        raise ValueError(f"a probe needs at least 2 episodes, one of them held out; the data has {count}")
    folds = min(FOLDS, count)
    names, probes, done = dataset.info.action_names, [], 0

    def on_step() -> None:
        nonlocal done
        done += 1
        report(done, folds * steps)

    for fold in range(folds):
        others = [episode for episode in range(count) if fold_of(episode, folds) != fold]
        examples = mirrored(draw_examples(dataset, others, number=MAX_EXAMPLES, seed=seed), names)
        probes.append(train_probe(examples, len(names), seed=seed + fold, steps=steps, on_step=on_step))
    return Panel(probes=probes, action_names=tuple(names))


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
