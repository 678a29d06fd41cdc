"""Tiny real models for tests: toy sizes, never toy code."""

from __future__ import annotations

import torch

from worldmodel.config import DynamicsConfig, TokenizerConfig, VAEConfig
from worldmodel.dynamics.model import Dynamics
from worldmodel.dynamics.radiance_field import GRID_SCALE, RadianceField
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
        "motion_dim": 16,
        "carried_dim": 4,
        "pose": True,
        "belief_dim": 16,
        "field_dim": 16,
        "field_grid": 32,
    }
    config = DynamicsConfig(**(settings | changes))  # type: ignore[arg-type]
    if codebook is None:
        codebook = torch.randn(config.codebook_size, config.code_dim)
    dynamics = Dynamics(config, codebook).eval()
    with torch.no_grad():
        for name, parameter in dynamics.named_parameters():
            # A pose that jumps with every rounding is no test of others; its colours may be as they are.
            still = name.startswith("belief.") and not name.startswith(("belief.field.wall.", "belief.field.plane."))
            parameter.add_(torch.randn_like(parameter) * (0.01 if still else 0.2))
        if dynamics.belief is not None:
            enclose(dynamics.belief.field)
        dynamics.show(torch.rand(config.codebook_size, config.cell, config.cell, 3))
    return dynamics
