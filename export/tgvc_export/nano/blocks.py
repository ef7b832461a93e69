"""What the nano networks are made of."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

PLANES = 6  # channels of a picture: four phases of luma, two of chroma, at half size


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size (divided by the stride)."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2)


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with all parameters zero, so that a fresh residual branch changes nothing."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside the identity. No normalisation: at this depth it costs time and gains nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = zeroed(conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Tensor (N, C, h, w) to the same shape."""
        return x + self.second(functional.leaky_relu(self.first(functional.leaky_relu(x, 0.1)), 0.1))


class LevelEmbedding(nn.Module):
    """Features of the noise level: sines of the time step, then two dense layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.register_buffer("rates", torch.exp(-math.log(10000.0) * torch.arange(half) / half), persistent=False)
        self.dense = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.rates: Tensor

    def forward(self, t: Tensor) -> Tensor:
        """Time steps (B,) 0..999 to features (B, width)."""
        angles = t[:, None] * self.rates[None]
        return self.dense(torch.cat([angles.cos(), angles.sin()], dim=1))
