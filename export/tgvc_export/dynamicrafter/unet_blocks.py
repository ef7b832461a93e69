"""What the video network is made of beside its transformers: residual blocks with a temporal part, changes of size.

Features of all frames lie in one tensor (B * T, C, h, w), run by run. Parameters are named as in the published files.
Source: the structure of DynamiCrafter (Xing et al. 2023), written from its description.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_GROUPS, _EPS = 32, 1e-5
_LONGEST = 10000.0  # period of the slowest sine in units of 2 pi


class NumberEmbedding(nn.Sequential):
    """Features of a number per run: cosines and sines of falling rates, then two dense layers."""

    def __init__(self, rates: int, width: int) -> None:
        super().__init__(nn.Linear(rates, width), nn.SiLU(), nn.Linear(width, width))
        self.half = rates // 2

    def forward(self, value: Tensor) -> Tensor:
        """Numbers (B,) to features (B, width) of the weights' type; angles are float32."""
        steps = torch.arange(self.half, dtype=torch.float32, device=value.device)
        angles = value.float()[:, None] * torch.exp(-math.log(_LONGEST) / self.half * steps)
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        return super().forward(waves.to(self[0].weight.dtype))


class FrameConv(nn.Conv3d):
    """A convolution over three frames, computed as one over two axes: frames, and all places in a row."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, C, T, places) to the same shape."""
        return functional.conv2d(x, self.weight.squeeze(-1), self.bias, padding=(1, 0))


class TemporalConv(nn.Module):
    """Four normalised convolutions over frames beside the identity; norms are over all frames and places."""

    def __init__(self, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(_norm(channels), nn.SiLU(), FrameConv(channels))
        self.conv2, self.conv3, self.conv4 = (
            nn.Sequential(_norm(channels), nn.SiLU(), nn.Dropout(dropout), FrameConv(channels)) for _ in range(3)
        )

    def forward(self, x: Tensor, batch: int, frames: int) -> Tensor:
        """Features (B * T, C, h, w), B, T; gives the shape of the features."""
        _, channels, height, width = x.shape
        y = x.reshape(batch, frames, channels, height * width).transpose(1, 2)
        y = self.conv4(self.conv3(self.conv2(self.conv1(y))))
        return x + y.transpose(1, 2).reshape(x.shape)


class ResBlock(nn.Module):
    """Two normalised convolutions, told of time step and frame rate, beside the identity; then a `TemporalConv`.

    What it is told comes through ``emb_layers``, which are not called here, but ahead by the `TimeNetwork`.
    """

    def __init__(self, inputs: int, outputs: int, embedded: int, dropout: float = 0.0, temporal: bool = True) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(_norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedded, outputs))
        self.out_layers = nn.Sequential(
            _norm(outputs), nn.SiLU(), nn.Dropout(dropout), nn.Conv2d(outputs, outputs, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        self.outputs, self.temporal = outputs, temporal
        if temporal:
            self.temopral_conv = TemporalConv(outputs, dropout)  # spelt so in the published files

    def forward(self, x: Tensor, shift: Tensor, batch: int, frames: int) -> Tensor:
        """Features (B * T, inputs, h, w), shift (B * T, outputs), B, T; gives (B * T, outputs, h, w)."""
        y = self.in_layers(x) + shift[:, :, None, None]
        y = self.skip_connection(x) + self.out_layers(y)
        return self.temopral_conv(y, batch, frames) if self.temporal else y


class Downsample(nn.Module):
    """Half the size by a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, C, 2h, 2w) to (N, C, h, w)."""
        return self.op(x)


class Upsample(nn.Module):
    """Twice the size: every value four times, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, C, h, w) to (N, C, 2h, 2w)."""
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class Head(nn.Sequential):
    """Features to the answer: norm, SiLU, convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(_norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels, _EPS)
