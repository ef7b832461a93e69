"""The nano denoiser: a two-level video U-Net on latents, all convolutions 4-D."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from tgvc_export.nano.autoencoder import LATENTS
from tgvc_export.nano.blocks import LevelEmbedding, conv, zeroed

HINTS = 4
_WIDTHS = (64, 112)  # channels at full and half size of the latents
_LEVEL = 64  # features of the noise level


class SpaceTime(nn.Module):
    """A spatial residual block told of the noise level, then a temporal one, on (B * T, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.level = nn.Linear(_LEVEL, 2 * channels)
        self.second = zeroed(conv(channels, channels))
        # over (time, space flattened): a temporal convolution that stays 4-D
        self.temporal = zeroed(nn.Conv2d(channels, channels, (3, 1), padding=(1, 0)))

    def forward(self, x: Tensor, level: Tensor, frames: int) -> Tensor:
        """Features (B * T, C, h, w), level features (B, width), T; gives the same shape."""
        n, c, h, w = x.shape
        y = self.first(functional.silu(x))
        scale, offset = self.level(level).reshape(-1, 1, 2 * c, 1, 1).chunk(2, dim=2)
        y = y.reshape(-1, frames, c, h, w) * (1 + scale) + offset
        x = x + self.second(functional.silu(y.reshape(n, c, h, w)))
        y = functional.silu(x).reshape(-1, frames, c, h * w).transpose(1, 2)
        y = self.temporal(y).transpose(1, 2)
        return x + y.reshape(n, c, h, w)


class Denoiser(nn.Module):
    """Predicts v of noisy residual latents; inputs as the bundle's manifest lists them.

    Args:
        latents: channels of a latent.
        maps: channels of trajectory maps after the hints, 0 for none.
    """

    def __init__(self, latents: int = LATENTS, maps: int = 0) -> None:
        super().__init__()
        full, half = _WIDTHS
        self.latents, self.maps = latents, maps
        self.embed = LevelEmbedding(_LEVEL)
        self.start = conv(4 * latents + HINTS + maps, full)
        self.down = conv(full, half, stride=2)
        self.before = SpaceTime(full)
        self.inside = nn.ModuleList([SpaceTime(half), SpaceTime(half)])
        self.up = conv(half, 4 * full, size=1)
        self.after = SpaceTime(full)
        self.finish = zeroed(conv(full, 2 * latents))

    def forward(self, x: Tensor, t: Tensor, base: Tensor, keys: Tensor, hints: Tensor) -> Tensor:
        """Predict v.

        Args:
            x: (B, C, T, h, w) noisy residual.
            t: (B,) time step, 0..999.
            base: (B, C, T, h, w) latents of the weight-free picture.
            keys: (B, 2C, T, h, w) latents of the key pictures before and after.
            hints: (B, 4 + maps, T, h, w).

        Returns:
            (B, C, T, h, w).
        """
        b, c, frames, h, w = x.shape
        level = self.embed(t)
        # key pictures are told as differences from the frame: what matters is where they disagree with it
        given = torch.cat([x, base, keys - torch.cat([base, base], dim=1), hints], dim=1)
        given = given.transpose(1, 2).reshape(b * frames, -1, h, w)
        y = self.before(self.start(given), level, frames)
        z = self.down(y)
        for block in self.inside:
            z = block(z, level, frames)
        y = self.after(y + functional.pixel_shuffle(self.up(z), 2), level, frames)
        out = self.finish(functional.silu(y)).reshape(b, frames, 2 * c, h, w).transpose(1, 2)
        # v is partly the noise itself, which need not squeeze through the features: a gate lets it pass
        direct, gate = out.chunk(2, dim=1)
        return direct + gate * x


def add_maps(weights: Mapping[str, Tensor], maps: int) -> dict[str, Tensor]:
    """Weights of a denoiser without maps for one with them, which computes the same until it has learnt to look.

    Args:
        weights: of a denoiser with ``maps=0``.
        maps: channels of the new one.
    """
    first = weights["start.weight"]
    unseen = first.new_zeros(first.shape[0], maps, *first.shape[2:])
    return {**weights, "start.weight": torch.cat([first, unseen], dim=1)}
