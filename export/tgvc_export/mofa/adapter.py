"""The adapter of MOFA-Video: a copy of the video network's way down that is shown the key picture, moved.

Parameters are named as in ``controlnet/diffusion_pytorch_model.safetensors``. What depends on nothing but the key
picture and the flow is made once (`Adapter.describe`); the rest runs in every step of the sampler. Source: the
structure of FlowControlNet (Niu et al. 2024, MOFA-Video, Apache-2.0); written from names, shapes and formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from tgvc_export.mofa.config import AdapterConfig
from tgvc_export.mofa.splat import invert_flow, look, shrink_flow, splat
from tgvc_export.mofa.unet_blocks import Descent

FINEST_PX = 8  # of a cell of the finest features


class PictureEncoder(nn.Module):
    """A picture (B, 3, H, W) in -1..1 to features (B, C, H / 8, W / 8)."""

    def __init__(self, channels: int, outputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for width, wider in pairwise(widths):
            self.blocks.append(nn.Conv2d(width, width, 3, padding=1))
            self.blocks.append(nn.Conv2d(width, wider, 3, padding=1, stride=2))
        self.conv_out = nn.Conv2d(widths[-1], outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        for layer in (self.conv_in, *self.blocks):
            x = functional.silu(layer(x))
        return self.conv_out(x)


class Halving(nn.Module):
    """Half the size by a convolution, then SiLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(inputs, outputs, 3, padding=1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, inputs, 2h, 2w) to (B, outputs, h, w)."""
        return functional.silu(self.conv_in(x))


class FeatureEncoder(nn.Module):
    """Features to coarser ones, each through a convolution of size 1 that was zero when training began."""

    def __init__(self, width: int, widths: Sequence[int]) -> None:
        super().__init__()
        before = (width, *widths[:-1])
        self.encoders = nn.ModuleList(Halving(*pair) for pair in zip(before, widths, strict=True))
        self.zeroconvs = nn.ModuleList(nn.Conv2d(each, each, 1) for each in widths)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features (B, C, h, w) to those of half the size and less, finest first."""
        found = []
        for encoder, out in zip(self.encoders, self.zeroconvs, strict=True):
            x = encoder(x)
            found.append(out(x))
        return found


class Adapter(Descent):
    """The adapter; see the module."""

    def __init__(self, config: AdapterConfig | None = None) -> None:
        config = config or AdapterConfig()
        super().__init__(config)
        widths = config.block_out_channels
        self.controlnet_down_blocks = nn.ModuleList(nn.Conv2d(width, width, 1) for width in config.left_widths)
        self.controlnet_mid_block = nn.Conv2d(widths[-1], widths[-1], 1)
        self.flow_encoder = FeatureEncoder(widths[0], tuple(widths[:-1]))
        self.controlnet_cond_embedding = PictureEncoder(
            config.conditioning_channels, widths[0], config.conditioning_embedding_out_channels
        )

    def describe(self, picture: Tensor, flow: Tensor, forwards: bool = True) -> list[Tensor]:
        """What every frame is shown of the key picture.

        Args:
            picture: (B, 3, H, W) in -1..1, H and W multiples of the coarsest cell, 64 px as published.
            flow: (B, T - 1, 2, H, W) in px, from the key picture to every later frame; see `splat`.
            forwards: splatted as published, else looked up by the inverse flow, without scattering.

        Returns:
            Features (B, T, C, h, w) of cells of 8 px and of those twice as large each, the first frame's not moved.
        """
        finest = self.controlnet_cond_embedding(picture)
        return move_features([finest, *self.flow_encoder(finest)], flow, forwards)

    def forward(self, x: Tensor, t: Tensor, ids: Tensor, token: Tensor, moved: Sequence[Tensor]) -> list[Tensor]:
        """Residuals for the video network.

        Args:
            x: as for `tgvc_export.mofa.unet.VideoUNet`, like the next three.
            t: the same.
            ids: the same.
            token: the same.
            moved: of `describe`.

        Returns:
            (B * T, C, h, w) for every step of the way down, and last for the coarsest part; not scaled.
        """
        y, given = self.begin(x, t, ids, token)
        shown = [each.reshape(-1, *each.shape[2:]) for each in moved]
        y = y + shown[0]
        left = [y]
        for level, block in enumerate(self.down_blocks):
            y, steps = block(y, given)
            left += steps
            y = y + shown[min(level + 1, len(shown) - 1)]
        y = self.mid_block(y + shown[-1], given)  # the coarsest are added twice in a row, as published
        residuals = [layer(each) for layer, each in zip(self.controlnet_down_blocks, left, strict=True)]
        return [*residuals, self.controlnet_mid_block(y)]


def move_features(known: Sequence[Tensor], flow: Tensor, forwards: bool = True) -> list[Tensor]:
    """Features of the key picture for every frame, see `Adapter.describe`.

    Args:
        known: features (B, C, h, w) of cells of 8 px and of those twice as large each.
        flow: (B, T - 1, 2, H, W) in px.
        forwards: splatted, else looked up.

    Returns:
        (B, T, C, h, w) each.
    """
    moved = []
    for level, features in enumerate(known):
        batch, channels, height, width = features.shape
        frames = flow.shape[1]
        shrunk = shrink_flow(flow, FINEST_PX << level).reshape(batch * frames, 2, height, width)
        still = features.unsqueeze(1)
        each = still.expand(batch, frames, channels, height, width).reshape(-1, channels, height, width)
        rest = splat(each, shrunk) if forwards else look(each, invert_flow(shrunk))
        moved.append(torch.cat([still, rest.reshape(batch, frames, channels, height, width)], dim=1))
    return moved
