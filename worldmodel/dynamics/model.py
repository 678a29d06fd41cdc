"""The dynamics: past codes and actions -> the next frame's codes, exactly as the waves of its order factorise them."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..checkpoint import build, read
from ..config import DynamicsConfig, from_dict
from ..runtime import single_precision, use_bfloat16
from ..types import NO_ACTION, Actions, ActionsBetween, Codes, FrameActions, FrameCodes
from .belief import Belief, Memory, Outlook
from .cache import ContextCache
from .context import ContextTransformer
from .decoder import CodeDecoder
from .motion import paint
from .order import Order
from .outcome import OutcomeHead, RecordedOutcomes
from .sampling import sample

IGNORED = -100  # in place of a code that is not known: cross_entropy leaves it out
ALONE_OF = 4  # one patch in so many teaches the context transformer's own prediction at a training step
MOTION_WEIGHT = 1.0
LEAST_DOUBT, MOST_DOUBT = 0.02, 0.3  # what is seen from another place is hardly farther off


@dataclass(frozen=True)
class DynamicsLosses:
    """Nats per code of a batch; `total` is what is minimised."""

    total: Tensor
    nll: Tensor  # of the model
    alone: Tensor  # of the context transformer's own prediction, all codes of a frame at once
    motion: Tensor  # how far the warped painting is from the next: see `Motion.loss`
    outcome: Tensor  # of rewards and ends: see `OutcomeHead.loss`; 0 without heads


class Dynamics(nn.Module):
    """p(next frame's codes | past codes, past actions), with the codes of a frame factorised by `config.order`.

    Codes enter as the tokenizer's codebook vectors, standardised and fixed: codes that look alike start alike.
    """

    code_vectors: Tensor
    appearances: Tensor

    def __init__(self, config: DynamicsConfig, codebook: Tensor) -> None:
        super().__init__()
        if codebook.shape != (config.codebook_size, config.code_dim):
            raise ValueError(
                f"the codebook is {tuple(codebook.shape)}, the config says {config.codebook_size, config.code_dim}"
            )
        self.config = config
        self.order = Order(config.order, config.patch_grid)
        self.context = ContextTransformer(config)
        self.decoder = CodeDecoder(config, self.order)
        # It learns alone, before the rest: training/belief.py.
        self.belief = Belief(config).requires_grad_(False) if config.pose else None
        self.outcome = OutcomeHead(config) if config.rewards else None  # last: other weights are drawn as without
        codebook = codebook.detach().float()
        self.register_buffer("code_vectors", (codebook - codebook.mean(0)) / codebook.std(0).clamp(min=1e-6))
        self.register_buffer("appearances", torch.zeros(config.codebook_size, 3, config.cell, config.cell))

    @property
    def device(self) -> torch.device:
        return self.code_vectors.device

    def to_patches(self, codes: Codes) -> Tensor:
        """Return codes (b t h w) by patch: (b t n links)."""
        p = self.config.patch
        return rearrange(codes, "b t (h i) (w j) -> b t (h w) (i j)", i=p, j=p)

    def from_patches(self, patches: Tensor) -> FrameCodes:
        """Return the codes of one frame's patches (b n links) as a grid (b h w)."""
        p, grid = self.config.patch, self.config.patch_grid
        return rearrange(patches, "b (h w) (i j) -> b (h i) (w j)", h=grid, w=grid, i=p, j=p)

    def vectors(self, patches: Tensor) -> Tensor:
        """Return the vector of each code: int64 (...) -> (... c)."""
        return F.embedding(patches, self.code_vectors)

    def show(self, appearances: Tensor) -> None:
        """Tell the model what each code looks like: the mean colours (k cell cell 3) of its place in decoded frames."""
        colours = appearances.float().movedim(-1, 1)
        mean, deviation = colours.mean((0, 2, 3), keepdim=True), colours.std((0, 2, 3), keepdim=True)
        self.appearances.copy_((colours - mean) / deviation.clamp(min=1e-6))

    def paint(self, codes: Codes) -> Tensor:
        """Return what codes (b t h w) look like, code by code, in standardised colours: (b t 3 H W)."""
        return paint(codes, self.appearances)

    def features(
        self, codes: Codes, actions: Actions, *, corruption: Tensor | None = None, seen: int | None = None,
        outlook: Outlook | None = None, cache: ContextCache | None = None,
    ) -> Tensor:  # fmt: skip
        """Return what is known of the frames that follow `codes` (b t h w) under `actions` (b t): (b t n d).

        The belief looks at the first `seen` frames, None meaning all; with a cache, at those that are not imagined.
        Where an outlook (b t 4), (b t) on those that follow is given, it is not asked.
        """
        return self._known(codes, actions, corruption, seen, outlook, cache)[0]

    def _known(
        self,
        codes: Codes,
        actions: Actions,
        corruption: Tensor | None,
        seen: int | None = None,
        outlook: Outlook | None = None,
        cache: ContextCache | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the features, and by how much the view is displaced."""
        patches = self.vectors(self.to_patches(codes)).flatten(-2)
        if corruption is None:
            corruption = torch.zeros(len(codes), device=codes.device)
        paintings = self.paint(codes)
        if cache is not None and cache.imagined:
            seen = 0
        if self.belief is None:
            return self.context(patches, paintings, None, actions, corruption, cache)
        expected, doubts = self.expect(codes, paintings, actions, seen, outlook, cache)
        features, displacement = self.context(patches, paintings, expected, actions, corruption, cache)
        blind = torch.arange(actions.shape[1]) >= (actions.shape[1] if seen is None else seen)
        closely = cache is not None and cache.belief.closely
        trust = doubts.new_tensor(self.config.trust)[(blind | closely).long()] / doubts.clamp(LEAST_DOUBT, MOST_DOUBT)
        trust = trust.unsqueeze(-1).unsqueeze(-1)
        cells = rearrange(
            expected, "b t c (h p i) (w q j) -> b t (h w) (p q c i j)", p=self.config.patch, q=self.config.patch,
            i=self.config.cell, j=self.config.cell,
        )  # fmt: skip
        told = torch.cat([trust * cells, trust.expand(*cells.shape[:3], 1)], dim=-1)
        return torch.cat([features, told.to(features.dtype)], dim=-1), displacement

    def evidence(self, features: Tensor) -> Tensor | None:
        """Return what to add to the logits (... links k), given features (... d); None without a belief.

        A code is the likelier the nearer it looks to what is expected at its place: minus the squared distance of the
        two per pixel value, times the trust in the belief. The product of the two opinions, the transformer's and the
        map's (a product of experts, Hinton 2002). The trust is the less, the more is doubted, and after a close look it
        is that in imagination: both times the map is the best there is to go by.
        """
        if self.belief is None:
            return None
        looks = self.appearances.flatten(1)
        told = features[..., -(self.config.codes_per_patch * looks.shape[1] + 1) :].float()
        cells, trust = told[..., :-1].unflatten(-1, (self.config.codes_per_patch, -1)), told[..., -1:].unsqueeze(-1)
        with single_precision(features.device):
            return (2 * cells @ looks.T - trust * looks.square().sum(1)) / looks.shape[1]

    @torch.compiler.disable
    @torch.no_grad()
    def expect(
        self, codes: Codes, paintings: Tensor, actions: Actions, seen: int | None = None,
        outlook: Outlook | None = None, cache: ContextCache | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return the paintings (b t 3 H W) that are expected to follow `codes` (b t h w), and the doubts of each (b t).

        See `features`; `paintings` (b t 3 H W) are of `codes`.
        """
        assert self.belief is not None
        if outlook is None:
            memory = Memory() if cache is None else cache.belief
            outlook = self.belief.follow(self.vectors(codes), paintings, actions, memory, seen=seen)
        return self.belief.paint(outlook.views), outlook.doubts

    def logits(self, features: Tensor, codes: Codes) -> Tensor:
        """Return logits (b t h w k) of frames `codes` (b t h w), each code given those before it in the order."""
        b, t = codes.shape[:2]
        vectors = self.vectors(self.to_patches(codes))
        logits = self._weighed(self.decoder(features.flatten(0, 1), vectors.flatten(0, 1)), features.flatten(0, 1))
        p, grid = self.config.patch, self.config.patch_grid
        return rearrange(logits, "(b t) (h w) (i j) k -> b t (h i) (w j) k", b=b, t=t, h=grid, w=grid, i=p, j=p)

    def _weighed(self, logits: Tensor, features: Tensor) -> Tensor:
        """Return logits (... links k) with the evidence of features (... d)."""
        evidence = self.evidence(features)
        return logits if evidence is None else logits.float() + evidence

    def loss(
        self,
        codes: Codes,
        actions: ActionsBetween,
        past: Codes | None = None,
        seen: int | None = None,
        outlook: Outlook | None = None,
        *,
        generator: torch.Generator,
        outcomes: RecordedOutcomes | None = None,
    ) -> DynamicsLosses:
        """Return the losses of predicting each frame of `codes` (b t h w) but the first, under `actions` (b t-1).

        They are predicted from `past` (b t-1 h w), the frames themselves if None, of which the belief looks at the
        first `seen`, all if None, unless there is an outlook on them (b t-1 4), (b t-1). In training mode, a share of
        the past's codes is replaced by random ones and some clips lose their actions (`generator`, on the CPU,
        decides); the codes to be predicted are always the real ones. With `outcomes` of the actions, the heads learn
        as well, and codes of frames that the game did not show teach nothing.
        """
        past, corruption = codes[:, :-1] if past is None else past, None
        if self.training:
            past, corruption = corrupt(past, self.config, generator)
            actions = forget(actions, self.config, generator)
        features, displacement = self._known(past, actions, corruption, seen, outlook)
        patches = self.to_patches(codes[:, 1:])
        logits = self.decoder(features.flatten(0, 1), self.vectors(patches).flatten(0, 1))
        logits = self._weighed(logits, features.flatten(0, 1))
        if outcomes is not None:
            patches = patches.masked_fill(~outcomes.shown[..., None, None], IGNORED)
        nll = _nats(logits, patches)
        shown = torch.arange(self.config.num_patches)
        if self.training:  # a sample of the patches teaches as well, and the logits of all are a tenth of a step
            shown = torch.randperm(self.config.num_patches, generator=generator)[: self.config.num_patches // ALONE_OF]
        shown = shown.to(codes.device)
        alone = _nats(self.decoder.head.predict_alone(features[:, :, shown]), patches[:, :, shown])
        motion = self._motion_loss(displacement, codes, outcomes)
        outcome = self._outcome_loss(features[..., : self.config.context_dim], outcomes)
        total = nll + alone + MOTION_WEIGHT * motion + outcome
        return DynamicsLosses(total, nll.detach(), alone.detach(), motion.detach(), outcome.detach())

    def _outcome_loss(self, features: Tensor, outcomes: RecordedOutcomes | None) -> Tensor:
        if self.outcome is None or outcomes is None:
            return features.new_zeros(())
        return self.outcome.loss(features, outcomes)

    def _motion_loss(self, displacement: Tensor, codes: Codes, outcomes: RecordedOutcomes | None) -> Tensor:
        """Return how badly displacements (b t-1 2 H W) explain codes (b t h w)."""
        paintings = self.paint(codes)
        before, after, moved = (
            paintings[:, :-1].flatten(0, 1),
            paintings[:, 1:].flatten(0, 1),
            displacement.flatten(0, 1),
        )
        if outcomes is not None:
            before, after, moved = (part[outcomes.shown.flatten()] for part in (before, after, moved))
        return self.context.motion.loss(moved, before, after)

    forward = loss  # the name by which torch's wrappers for several processes call it

    def frozen(self, *, precision: str = "auto") -> Dynamics:
        """Return a copy that imagines faster and cannot be trained: matrices in the dtype they are multiplied in."""
        copied = copy.deepcopy(self).eval().requires_grad_(False)
        dtype = torch.bfloat16 if use_bfloat16(precision, self.device) else torch.float32
        copied.context.freeze(dtype)
        exact: set[nn.Module] = set()
        if copied.belief is not None:
            field = copied.belief.field
            exact = {*copied.belief.ego_motion.modules(), *field.sway.modules(), field.higher}
            field.explore()
        for module in copied.modules():
            if isinstance(module, nn.Linear | nn.Conv1d) and module not in exact:
                module.to(dtype)
        return copied

    def new_cache(self) -> ContextCache:
        """Return the memory of a world that has seen nothing yet."""
        return ContextCache(self.config.context_layers, self.config.window)

    @torch.no_grad()
    def sample_frame(self, features: Tensor, *, noise: Tensor, temperature: float = 1.0, top_k: int = 0) -> FrameCodes:
        """Return the next frame's codes (b h w), drawn wave by wave from features (b n d).

        `noise` is standard Gumbel, (b n links k): with the same noise the codes do not depend on how they are computed.
        """

        evidence = self.evidence(features)

        def pick(logits: Tensor, positions: Tensor, link: int) -> Tensor:
            if evidence is not None:
                logits = logits.float() + evidence[:, positions, link]
            return sample(logits, noise[:, positions, link], temperature=temperature, top_k=top_k)

        return self.from_patches(self.decoder.sample(features, self.code_vectors, pick))

    @torch.no_grad()
    def observe(
        self, codes: FrameCodes, actions: FrameActions, cache: ContextCache, outlook: Outlook | None = None
    ) -> Tensor:
        """Take in one frame (b h w) and the action that follows it (b); return features (b n d) of the next frame.

        An outlook (b 4), (b) on it may be known.
        """
        known = None if outlook is None else Outlook(*(part.unsqueeze(1) for part in outlook))
        return self.features(codes.unsqueeze(1), actions.unsqueeze(1), outlook=known, cache=cache).squeeze(1)

    @classmethod
    def from_pretrained(cls, directory: str | os.PathLike[str]) -> Dynamics:
        """Load a dynamics checkpoint.

        Raises:
            ValueError: if it is missing, damaged, or another model's.
        """
        checkpoint = read(directory, kind="dynamics")
        values = {name: value for name, value in checkpoint.config.items() if name != "tokenizer"}
        config = from_dict(DynamicsConfig, values)
        dynamics = build(lambda: cls(config, torch.zeros(config.codebook_size, config.code_dim)), checkpoint, directory)
        return dynamics.eval().requires_grad_(False)


def corrupt(codes: Codes, config: DynamicsConfig, generator: torch.Generator) -> tuple[Codes, Tensor]:
    """Return codes with random ones among them, at a rate drawn for each clip, and the rates (b)."""
    rate = torch.rand(len(codes), generator=generator) * config.max_corruption
    hit = torch.rand(codes.shape, generator=generator) < rate[:, None, None, None]
    random = torch.randint(config.codebook_size, codes.shape, generator=generator)
    return torch.where(hit.to(codes.device), random.to(codes.device), codes), rate.to(codes.device)


def forget(actions: ActionsBetween, config: DynamicsConfig, generator: torch.Generator) -> ActionsBetween:
    """Return actions (b t-1), those of some clips not told."""
    forgotten = torch.rand(len(actions), generator=generator) < config.action_dropout
    return actions.masked_fill(forgotten.to(actions.device).unsqueeze(1), NO_ACTION)


def _nats(logits: Tensor, codes: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of codes under logits (... k)."""
    return F.cross_entropy(logits.flatten(0, -2).float(), codes.flatten())
