"""The encoder and the decoder: convolutions between frames and latents (van den Oord et al. 2017, sec. 4.1)."""

from __future__ import annotations

from torch import Tensor, nn

from ..config import TokenizerConfig, VAEConfig

Config = TokenizerConfig | VAEConfig


class ResidualBlock(nn.Module):
    """ReLU, 3x3, ReLU, 1x1, added to the input."""

    def __init__(self, dim: int, residual_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(dim, residual_dim, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(residual_dim, dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x)
        return out


def _widths(config: Config) -> list[int]:
    """The channels after each stride-2 convolution, widest at the code grid."""
    return [config.hidden_dim // 2 ** (config.downsamplings - 1 - i) for i in range(config.downsamplings)]


def _residual_blocks(config: Config) -> list[nn.Module]:
    return [ResidualBlock(config.hidden_dim, config.residual_dim) for _ in range(config.num_residual_blocks)]


def encoder(config: Config, out_dim: int) -> nn.Sequential:
    """Return frames (n 3 H W) in -1..1 -> latents (n out_dim h w)."""
    layers: list[nn.Module] = []
    channels = 3
    for width in _widths(config):
        layers += [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.ReLU()]
        channels = width
    layers += [nn.Conv2d(channels, channels, 3, padding=1), *_residual_blocks(config), nn.ReLU()]
    layers += [nn.Conv2d(channels, out_dim, 1)]
    return nn.Sequential(*layers)


def decoder(config: Config, in_dim: int) -> nn.Sequential:
    """Return quantized or sampled latents (n in_dim h w) -> the mean of each pixel (n 3 H W), in -1..1 once trained."""
    layers: list[nn.Module] = [nn.Conv2d(in_dim, config.hidden_dim, 3, padding=1), *_residual_blocks(config)]
    widths = _widths(config)
    for width, following in zip(reversed(widths), [*reversed(widths[:-1]), 3], strict=True):
        layers += [nn.ReLU(), nn.ConvTranspose2d(width, following, 4, stride=2, padding=1)]
    return nn.Sequential(*layers)
