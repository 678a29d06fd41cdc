"""The dynamics: past codes and actions -> the next frame's codes, autoregressive over waves of patches."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..checkpoints.checkpoint import build, read
from ..config import DynamicsConfig, from_dict
from ..runtime import single_precision, use_bfloat16
from ..types import Actions, ActionsBetween, Codes, FrameActions, FrameCodes
from .activity import activity_weights
from .cache import ContextCache
from .context import ContextTransformer
from .decoder import CodeDecoder
from .expectation import Expectation
from .features import Features
from .noise import add_context_noise, drop_actions
from .optical_flow import render, standardised_appearance
from .order import Order
from .outcome import OutcomeHead, RecordedOutcomes
from .sampling import sample

IGNORED = -100  # in place of a code that is not known: cross_entropy leaves it out
AUXILIARY_SHARE = 4  # one patch in so many trains the auxiliary head at a training step
FLOW_WEIGHT = 1.0
NOT_SETTINGS = ("tokenizer", "learned_map")  # what a checkpoint's config says beside the model's own


@dataclass(frozen=True)
class DynamicsLosses:
    """Nats per code of a batch; `total` is what is minimised."""

    total: Tensor
    nll: Tensor  # of the model
    aux_nll: Tensor  # of the auxiliary parallel head: the context transformer's own prediction, all codes at once
    flow: Tensor  # how far the warped image is from the next: see `OpticalFlow.loss`
    outcome: Tensor  # of rewards and ends: see `OutcomeHead.loss`; 0 without heads


class Dynamics(nn.Module):
    """p(next frame's codes | past codes, past actions), with the codes of a frame factorised by `config.order`.

    Codes enter as the tokenizer's codebook vectors, standardised and fixed: codes that look alike start alike.

    Args:
        config: sizes, actions and order.
        codebook: the tokenizer's vectors, float (k d).

    Raises:
        ValueError: if the codebook has another shape than the config says.
    """

    code_vectors: Tensor
    code_appearance: Tensor

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
        # Created last: the other weights begin as they do without it.
        self.outcome = OutcomeHead(config) if config.rewards else None
        codebook = codebook.detach().float()
        self.register_buffer("code_vectors", (codebook - codebook.mean(0)) / codebook.std(0).clamp(min=1e-6))
        shape = (config.codebook_size, 3, config.code_pixels, config.code_pixels)
        self.register_buffer("code_appearance", torch.zeros(shape))

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

    def set_code_appearance(self, colours: Tensor) -> None:
        """Set what each code looks like: the mean colours (k cell cell 3) of its place in decoded frames."""
        self.code_appearance.copy_(standardised_appearance(colours))

    def render(self, codes: Codes) -> Tensor:
        """Return what codes (b t h w) look like, code by code, in standardised colours: (b t 3 H W)."""
        return render(codes, self.code_appearance)

    def features(self, codes: Codes, actions: Actions, *, expectation: Expectation | None = None) -> Features:
        """Return what is known of the frames that follow each of `codes` (b t h w) under `actions` (b t).

        Args:
            codes: of the past.
            actions: after each frame; -1 where it is unknown.
            expectation: (b t), of the frames that follow; None where nothing is expected.

        Raises:
            ValueError: if something is expected and the model was made without (`config.expectation`).
        """
        return self._features(codes, actions, expectation=expectation)[0]

    def _features(
        self,
        codes: Codes,
        actions: Actions,
        *,
        noise_rates: Tensor | None = None,
        expectation: Expectation | None = None,
        cache: ContextCache | None = None,
    ) -> tuple[Features, Tensor]:
        """Return the features, and by how much the view is displaced."""
        if expectation is not None and not self.config.expectation:
            raise ValueError("this dynamics takes no expectation: it was made with expectation=False")
        patches = self.vectors(self.to_patches(codes)).flatten(-2)
        if noise_rates is None:
            noise_rates = torch.zeros(len(codes), device=codes.device)
        context, flow, displacement = self.context(
            patches, self.render(codes), actions, noise_rates, expectation, cache
        )
        return Features(context, flow, expectation), displacement

    def logit_bias(self, expectation: Expectation | None) -> Tensor | None:
        """Return what an expectation (...) adds to the logits: (... n links k); None where nothing is expected.

        A code is the likelier the nearer it looks to what is expected at its place: minus the squared distance of the
        two per pixel value, times the precision. The product of two experts, the transformer's opinion and the outside
        model's (Hinton 2002).
        """
        if expectation is None:
            return None
        config, looks = self.config, self.code_appearance.flatten(1)
        cells = rearrange(
            expectation.image, "... c (h p i) (w q j) -> ... (h w) (p q) (c i j)", p=config.patch, q=config.patch,
            i=config.code_pixels, j=config.code_pixels,
        )  # fmt: skip
        precision = expectation.precision[..., None, None, None].float()
        with single_precision(looks.device):
            weighted = precision * cells.float()
            return (2 * weighted @ looks.T - precision * looks.square().sum(1)) / looks.shape[1]

    def logits(self, features: Features, codes: Codes) -> Tensor:
        """Return logits (b t h w k) of frames `codes` (b t h w), each code given those before it in the order."""
        b, t = codes.shape[:2]
        logits = self._patch_logits(features.flatten(), self.to_patches(codes).flatten(0, 1))
        p, grid = self.config.patch, self.config.patch_grid
        return rearrange(logits, "(b t) (h w) (i j) k -> b t (h i) (w j) k", b=b, t=t, h=grid, w=grid, i=p, j=p)

    def _patch_logits(self, features: Features, patches: Tensor) -> Tensor:
        """Return logits (m n links k) of m frames with codes `patches` (m n links)."""
        logits: Tensor = self.decoder(features.context, features.flow, self.vectors(patches))
        bias = self.logit_bias(features.expectation)
        return logits if bias is None else logits.float() + bias

    def loss(
        self,
        codes: Codes,
        actions: ActionsBetween,
        *,
        past: Codes | None = None,
        expectation: Expectation | None = None,
        generator: torch.Generator,
        outcomes: RecordedOutcomes | None = None,
    ) -> DynamicsLosses:
        """Return the losses of predicting each frame of `codes` (b t h w) but the first, under `actions` (b t-1).

        In training mode, a share of the past's codes is replaced by random ones (context noise) and some clips lose
        their actions (action dropout); the codes to be predicted are always the real ones.

        Args:
            codes: real clips.
            actions: between the frames.
            past: (b t-1 h w), from which they are predicted; the frames themselves if None.
            expectation: (b t-1), of each frame but the first; None where nothing is expected.
            generator: decides what is noise and what is dropped, on the CPU.
            outcomes: (b t-1), of the actions: the heads learn as well, and frames that the game did not show teach
                nothing.
        """
        config, weights, noise_rates = self.config, None, None
        past = codes[:, :-1] if past is None else past
        if self.config.activity_weight != 1:
            weights = self.to_patches(activity_weights(past, config.activity_weight))
        if self.training:
            past, noise_rates = add_context_noise(
                past, codebook_size=config.codebook_size, max_rate=config.max_context_noise, generator=generator
            )
            actions = drop_actions(actions, rate=config.action_dropout, generator=generator)
            if outcomes is not None and self._only_heads_learn():
                return self._heads_alone(past, actions, noise_rates, expectation, outcomes)
        features, displacement = self._features(past, actions, noise_rates=noise_rates, expectation=expectation)
        patches = self.to_patches(codes[:, 1:])
        logits = self._patch_logits(features.flatten(), patches.flatten(0, 1))
        if outcomes is not None:
            patches = patches.masked_fill(~outcomes.shown[..., None, None], IGNORED)
        nats = _nats(logits, patches)
        shown = torch.arange(config.num_patches)
        if self.training:  # a sample of the patches teaches as well, and the logits of all are a tenth of a step
            shown = torch.randperm(config.num_patches, generator=generator)[: config.num_patches // AUXILIARY_SHARE]
        shown = shown.to(codes.device)
        auxiliary = self.decoder.head.auxiliary_logits(features.context[:, :, shown], features.flow[:, :, shown])
        aux_nats = _nats(auxiliary, patches[:, :, shown])
        nll, aux_nll = _mean(nats, patches), _mean(aux_nats, patches[:, :, shown])
        learned = nll + aux_nll
        if weights is not None:
            learned = _mean(weights * nats, patches) + _mean(weights[:, :, shown] * aux_nats, patches[:, :, shown])
        flow = self._flow_loss(displacement, codes, outcomes)
        outcome = self._outcome_loss(features.context, outcomes)
        total = learned + FLOW_WEIGHT * flow + outcome
        return DynamicsLosses(total, nll.detach(), aux_nll.detach(), flow.detach(), outcome.detach())

    def _only_heads_learn(self) -> bool:
        return all(name.startswith("outcome.") for name, part in self.named_parameters() if part.requires_grad)

    def _heads_alone(
        self,
        past: Codes,
        actions: ActionsBetween,
        noise_rates: Tensor | None,
        expectation: Expectation | None,
        outcomes: RecordedOutcomes,
    ) -> DynamicsLosses:
        """Return the loss of the heads on a dynamics that stays as it is: nothing of the decoder is computed."""
        with torch.no_grad():
            features, _ = self._features(past, actions, noise_rates=noise_rates, expectation=expectation)
        outcome = self._outcome_loss(features.context, outcomes)
        nothing = torch.zeros_like(outcome.detach())
        return DynamicsLosses(outcome, nothing, nothing, nothing, outcome.detach())

    def _outcome_loss(self, context: Tensor, outcomes: RecordedOutcomes | None) -> Tensor:
        if self.outcome is None or outcomes is None:
            return context.new_zeros(())
        return self.outcome.loss(context, outcomes)

    def _flow_loss(self, displacement: Tensor, codes: Codes, outcomes: RecordedOutcomes | None) -> Tensor:
        """Return how badly displacements (b t-1 2 H W) explain codes (b t h w)."""
        images = self.render(codes)
        parts = [part.flatten(0, 1) for part in (images[:, :-1], images[:, 1:], displacement)]
        if outcomes is not None:
            parts = [part[outcomes.shown.flatten()] for part in parts]
        before, after, moved = parts
        return self.context.flow.loss(moved, before, after)

    forward = loss  # the name by which torch's wrappers for several processes call it

    def frozen(self, *, precision: str = "auto") -> Dynamics:
        """Return a copy that imagines faster and cannot be trained: matrices in the dtype they are multiplied in.

        Args:
            precision: "auto" (bfloat16 where the device is quicker in it), "float32" or "bfloat16".
        """
        copied = copy.deepcopy(self).eval().requires_grad_(False)
        dtype = torch.bfloat16 if use_bfloat16(precision, self.device) else torch.float32
        copied.context.freeze(dtype)
        for module in copied.modules():
            if isinstance(module, nn.Linear):
                module.to(dtype)
        return copied

    def new_cache(self) -> ContextCache:
        """Return the cache of a world before its first frame."""
        return ContextCache(self.config.context_layers, self.config.window)

    @torch.no_grad()
    def sample_frame(
        self, features: Features, *, noise: Tensor, temperature: float = 1.0, top_k: int = 0
    ) -> FrameCodes:
        """Return the next frame's codes (b h w), drawn wave by wave from its features (b).

        `noise` is standard Gumbel, (b n links k): with the same noise the codes do not depend on how they are computed.
        """
        bias = self.logit_bias(features.expectation)

        def pick(logits: Tensor, positions: Tensor, link: int) -> Tensor:
            if bias is not None:
                logits = logits.float() + bias[:, positions, link]
            return sample(logits, noise[:, positions, link], temperature=temperature, top_k=top_k)

        return self.from_patches(self.decoder.sample(features.context, features.flow, self.code_vectors, pick))

    @torch.no_grad()
    def observe(
        self, codes: FrameCodes, actions: FrameActions, cache: ContextCache, expectation: Expectation | None = None
    ) -> Features:
        """Take in one frame (b h w) and the action that follows it (b); return the features (b) of the next frame.

        The expectation (b), if any, is of that next frame.
        """
        if expectation is not None:
            expectation = expectation.map(lambda part: part.unsqueeze(1))
        features, _ = self._features(codes.unsqueeze(1), actions.unsqueeze(1), expectation=expectation, cache=cache)
        return features[:, 0]

    @classmethod
    def from_pretrained(cls, directory: str | os.PathLike[str]) -> Dynamics:
        """Load a dynamics checkpoint.

        Raises:
            ValueError: if it is missing, damaged, or another model's.
        """
        checkpoint = read(directory, kind="dynamics")
        values = {name: value for name, value in checkpoint.config.items() if name not in NOT_SETTINGS}
        config = from_dict(DynamicsConfig, values)
        dynamics = build(lambda: cls(config, torch.zeros(config.codebook_size, config.code_dim)), checkpoint, directory)
        return dynamics.eval().requires_grad_(False)


def _nats(logits: Tensor, codes: Tensor) -> Tensor:
    """Return the negative log-likelihood of each code (...) under logits (... k); 0 for one that is IGNORED."""
    return F.cross_entropy(logits.flatten(0, -2).float(), codes.flatten(), reduction="none").view(codes.shape)


def _mean(nats: Tensor, codes: Tensor) -> Tensor:
    """Return the mean of nats (...) over the codes (...) that are not IGNORED."""
    return nats.sum() / (codes != IGNORED).sum()
