"""Tiny real models for tests: toy sizes, never toy code."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from worldmodel.config import DynamicsConfig, TokenizerConfig, VAEConfig
from worldmodel.dynamics.expectation import Expectation
from worldmodel.dynamics.model import Dynamics
from worldmodel.learned_map.config import LearnedMapConfig
from worldmodel.learned_map.map import LearnedMap
from worldmodel.learned_map.radiance_field import GRID_SCALE, RadianceField
from worldmodel.tokenizer.model import Tokenizer
from worldmodel.tokenizer.vae import VAE

ACTION_NAMES = ("noop", "forward", "left", "right")


def tiny_tokenizer(**changes: object) -> Tokenizer:
    """A tokenizer of 32x32 frames with an 8x8 grid of 16 codes and random weights."""
    torch.manual_seed(0)
    settings = {"frame_size": 32, "codebook_size": 16, "code_dim": 8, "hidden_dim": 16, "residual_dim": 8} | changes
    return Tokenizer(TokenizerConfig(**settings)).eval()  # type: ignore[arg-type]


def tiny_vae(**changes: object) -> VAE:
    """A VAE of 32x32 frames with an 8x8 grid of 8 latents and random weights."""
    torch.manual_seed(0)
    settings = {"frame_size": 32, "latent_dim": 8, "hidden_dim": 16, "residual_dim": 8} | changes
    return VAE(VAEConfig(**settings)).eval()  # type: ignore[arg-type]


def enclose(field: RadianceField) -> None:
    """Put solid walls around a quarter of a field's map: rays through a fog take long."""
    line = torch.linspace(-1, 1, field.grid)
    x, y = torch.meshgrid(line, line, indexing="ij")
    field.density.copy_(torch.where((x.abs() < 0.5) & (y.abs() < 0.5), -0.5, 2.0).reshape(-1, 1) / GRID_SCALE)


def tiny_dynamics(*, codebook: torch.Tensor | None = None, seed: int = 1, **changes: object) -> Dynamics:
    """A dynamics of an 8x8 grid of 16 codes whose every weight is random, also those that training starts at zero."""
    torch.manual_seed(seed)
    settings: dict[str, object] = {
        "action_names": ACTION_NAMES,
        "frame_skip": 4,
        "frames_per_second": 8.75,
        "code_grid": 8,
        "codebook_size": 16,
        "code_dim": 8,
        "window": 3,
        "context_dim": 32,
        "context_layers": 2,
        "decoder_dim": 32,
        "head_dim": 16,
        "chain_dim": 16,
        "flow_hidden_dim": 16,
        "flow_dim": 4,
    }
    config = DynamicsConfig(**(settings | changes))  # type: ignore[arg-type]
    if codebook is None:
        codebook = torch.randn(config.codebook_size, config.code_dim)
    dynamics = Dynamics(config, codebook).eval()
    with torch.no_grad():
        for parameter in dynamics.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        dynamics.set_code_appearance(torch.rand(config.codebook_size, config.code_pixels, config.code_pixels, 3))
    return dynamics


def tiny_map(dynamics: Dynamics | None = None, *, seed: int = 1, **changes: object) -> LearnedMap:
    """A learned map of a dynamics' codes, by default the tiny one's, whose every weight is random."""
    dynamics = tiny_dynamics() if dynamics is None else dynamics
    names = ("action_names", "code_grid", "codebook_size", "code_dim", "code_pixels")
    settings: dict[str, object] = {name: getattr(dynamics.config, name) for name in names}
    settings |= {"tics_per_step": dynamics.config.frame_skip, "memory_dim": 16, "colour_dim": 16, "map_grid": 32}
    torch.manual_seed(seed)
    learned_map = LearnedMap(LearnedMapConfig(**(settings | changes))).eval()  # type: ignore[arg-type]
    learned_map.requires_grad_(False)
    for name, parameter in learned_map.named_parameters():
        # A pose that jumps with every rounding is no test of others; its colours may be as they are.
        is_colour = name.startswith(("field.wall.", "field.plane."))
        parameter.add_(torch.randn_like(parameter) * (0.2 if is_colour else 0.01))
    enclose(learned_map.field)
    learned_map.code_vectors.copy_(dynamics.code_vectors)
    learned_map.code_appearance.copy_(dynamics.code_appearance)
    return learned_map


@dataclass(frozen=True)
class FakeState:
    """What a fake expectation model knows: all codes and actions so far, of a bounded number."""

    codes: torch.Tensor  # (b h w), of the last real frame
    actions: torch.Tensor  # (b), the sum of all since

    def repeat(self, rows: torch.Tensor) -> FakeState:
        return FakeState(self.codes[rows], self.actions[rows])

    def put(self, rows: torch.Tensor, other: FakeState) -> FakeState:
        codes, actions = self.codes.clone(), self.actions.clone()
        codes[rows], actions[rows] = other.codes, other.actions
        return FakeState(codes, actions)


class FakeExpectations:
    """An expectation model: the last real frame as it looks, brighter with every action since."""

    def __init__(self, dynamics: Dynamics, *, precision: float = 3.0) -> None:
        self.dynamics, self.precision = dynamics, precision

    def begin(
        self, codes: torch.Tensor, actions: torch.Tensor, *, num_expected: int | None = None
    ) -> tuple[Expectation, FakeState]:
        t = codes.shape[1]
        number = t - 1 if num_expected is None else num_expected
        every = self.follow(codes, torch.nn.functional.pad(actions, (0, 1)))
        return every.map(lambda part: part[:, t - 1 - number : t - 1]), FakeState(codes[:, -1], 0 * codes[:, -1, 0, 0])

    def step(self, state: FakeState, actions: torch.Tensor) -> tuple[Expectation, FakeState]:
        state = FakeState(state.codes, state.actions + actions)
        return self._expect(state.codes, state.actions, 2 * self.precision), state

    def follow(self, codes: torch.Tensor, actions: torch.Tensor, *, num_real: int | None = None) -> Expectation:
        real = codes.shape[1] if num_real is None else num_real - 1
        parts = [self._expect(codes[:, t], actions[:, t], self.precision) for t in range(real)]
        if num_real is not None:
            state = FakeState(codes[:, real], 0 * actions[:, 0])
            for t in range(real, codes.shape[1]):
                expectation, state = self.step(state, actions[:, t])
                parts.append(expectation)
        return Expectation(*(torch.stack(each, dim=1) for each in zip(*parts, strict=True)))

    def frozen(self, *, precision: str = "auto") -> FakeExpectations:
        return self

    def _expect(self, codes: torch.Tensor, actions: torch.Tensor, precision: float) -> Expectation:
        image = self.dynamics.render(codes.unsqueeze(1))[:, 0] + 0.1 * actions.view(-1, 1, 1, 1)
        return Expectation(image, torch.full((len(codes),), precision))


OUTSIDE = ("none", "fake", "map")  # models of what the next frame looks like, beside the dynamics


def expecting(kind: str, dynamics: Dynamics) -> FakeExpectations | LearnedMap | None:
    """Return the expectation model of that kind for a dynamics with `expectation`; None for "none"."""
    return {"none": lambda: None, "fake": lambda: FakeExpectations(dynamics), "map": lambda: tiny_map(dynamics)}[kind]()
