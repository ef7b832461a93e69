"""Residual blocks over pictures and over frames, and how the two are mixed.

Features of all frames lie in one tensor (B * T, C, h, w), run by run. Parameters are named as in the published files.
Source: the structure of Stable Video Diffusion (Blattmann et al. 2023) as diffusers keeps it; written from names,
shapes and formulas.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tgvc_export.dynamicrafter.unet_blocks import FrameConv

GROUPS = 32


class Given(NamedTuple):
    """What every block is told: features of time (B, E), one token of the key picture (B, D), B runs, T frames.

    Both tensors may be missing where no block asks for them.
    """

    embedding: Tensor | None
    token: Tensor | None
    batch: int
    frames: int

    def per_frame(self, value: Tensor) -> Tensor:
        """Values (B, C) for every frame: (B * T, C)."""
        return value.unsqueeze(1).expand(self.batch, self.frames, value.shape[1]).reshape(-1, value.shape[1])


class Mixer(nn.Module):
    """A share, learned as the logit of its sigmoid, of what was seen frame by frame; the rest of what all frames gave.

    Args:
        swapped: the share is that of all frames, as in the autoencoder.
    """

    def __init__(self, swapped: bool = False) -> None:
        super().__init__()
        self.mix_factor = nn.Parameter(torch.zeros(1) if swapped else torch.full((1,), 0.5))
        self.swapped = swapped

    def forward(self, single: Tensor, moving: Tensor) -> Tensor:
        """Two tensors of one shape to their mean by the share."""
        share = torch.sigmoid(self.mix_factor)
        if self.swapped:
            share = 1 - share
        return share * single + (1 - share) * moving


class PictureBlock(nn.Module):
    """Two normalised 3 x 3 convolutions beside the identity, or a 1 x 1 convolution; told of time if ``embedded``."""

    def __init__(self, inputs: int, outputs: int, embedded: int | None, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, inputs, eps)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        if embedded:
            self.time_emb_proj = nn.Linear(embedded, outputs)
        self.norm2 = nn.GroupNorm(GROUPS, outputs, eps)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.conv_shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, given: Given | None = None) -> Tensor:
        """Features (N, inputs, h, w) to (N, outputs, h, w)."""
        y = self.conv1(functional.silu(self.norm1(x)))
        if given is not None and given.embedding is not None:
            y = y + given.per_frame(self.time_emb_proj(functional.silu(given.embedding)))[:, :, None, None]
        y = self.conv2(functional.silu(self.norm2(y)))
        return (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x) + y


class FrameBlock(nn.Module):
    """Two normalised convolutions over three frames beside the identity; norms are over all frames and places."""

    def __init__(self, channels: int, embedded: int | None, eps: float) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(GROUPS, channels, eps), FrameConv(channels)
        if embedded:
            self.time_emb_proj = nn.Linear(embedded, channels)
        self.norm2, self.conv2 = nn.GroupNorm(GROUPS, channels, eps), FrameConv(channels)

    def forward(self, x: Tensor, given: Given) -> Tensor:
        """Features (B, C, T, places) to the same shape."""
        y = self.conv1(functional.silu(self.norm1(x)))
        if given.embedding is not None:
            y = y + self.time_emb_proj(functional.silu(given.embedding))[:, :, None, None]
        return x + self.conv2(functional.silu(self.norm2(y)))


class ResBlock(nn.Module):
    """A `PictureBlock`, then a `FrameBlock` mixed in.

    Args:
        inputs: channels.
        outputs: channels.
        embedded: features of time, None in the autoencoder.
        eps: of the first block's norms.
        frame_eps: of the second's, the same if None.
    """

    def __init__(
        self, inputs: int, outputs: int, embedded: int | None, eps: float, frame_eps: float | None = None
    ) -> None:
        super().__init__()
        self.spatial_res_block = PictureBlock(inputs, outputs, embedded, eps)
        self.temporal_res_block = FrameBlock(outputs, embedded, frame_eps or eps)
        self.time_mixer = Mixer(swapped=embedded is None)

    def forward(self, x: Tensor, given: Given) -> Tensor:
        """Features (B * T, inputs, h, w) to (B * T, outputs, h, w)."""
        x = self.spatial_res_block(x, given)
        _, channels, height, width = x.shape
        single = x.reshape(given.batch, given.frames, channels, height * width).transpose(1, 2)
        y = self.time_mixer(single, self.temporal_res_block(single, given))
        return y.transpose(1, 2).reshape(x.shape)


class Upsample(nn.Module):
    """Twice the size: every value four times, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, C, h, w) to (N, C, 2h, 2w)."""
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class Downsample(nn.Module):
    """Half the size by a convolution.

    Args:
        channels: C.
        centred: a border of zeros all around; else on the right and at the bottom only, as in the autoencoder.
    """

    def __init__(self, channels: int, centred: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=int(centred))
        self.centred = centred

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, C, 2h, 2w) to (N, C, h, w)."""
        return self.conv(x if self.centred else functional.pad(x, (0, 1, 0, 1)))
