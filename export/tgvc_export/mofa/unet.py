"""The video network of Stable Video Diffusion: noise of T latents, from one key picture, with an adapter's residuals.

Parameters are named as in ``unet/diffusion_pytorch_model.safetensors``. Source: the structure of
UNetSpatioTemporalConditionModel of diffusers; written from names, shapes and formulas.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from tgvc_export.mofa.config import VideoConfig
from tgvc_export.mofa.residual import GROUPS
from tgvc_export.mofa.unet_blocks import Descent, UpLevel

_EPS = 1e-5


class VideoUNet(Descent):
    """The network; see the module."""

    def __init__(self, config: VideoConfig | None = None) -> None:
        config = config or VideoConfig()
        super().__init__(config)
        widths = config.block_out_channels
        left, width = config.left_widths, widths[-1]
        self.up_blocks = nn.ModuleList()
        for level in reversed(range(len(widths))):
            inputs = []
            for _ in range(config.layers_per_block + 1):
                inputs.append(width + left.pop())
                width = widths[level]
            self.up_blocks.append(UpLevel(config, inputs, width, config.heads(level), level > 0))
        self.conv_norm_out = nn.GroupNorm(GROUPS, widths[0], _EPS)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def forward(
        self, x: Tensor, t: Tensor, ids: Tensor, token: Tensor, residuals: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Predict v of the published sampler.

        Args:
            x: (B, 2C, T, h, w), noisy latents before those of the key picture; h and w multiples of what the levels
                halve.
            t: (B,), see `Descent.begin`.
            ids: (B, 3), see `Descent.begin`.
            token: (B, D), embedding of the key picture; zeros for the half of guidance that is not told.
            residuals: of the adapter, see `published_sums`; the last is that of the coarsest part. None without it.

        Returns:
            v (B, C, T, h, w).
        """
        batch, _, frames, height, width = x.shape
        y, given = self.begin(x, t, ids, token)
        left = [y]
        for level in self.down_blocks:
            y, steps = level(y, given)
            left += steps
        y = self.mid_block(y, given)
        if residuals is not None:
            left = published_sums(left, residuals[:-1], self.config)
            y = y + residuals[-1]
        for up in self.up_blocks:
            y = up(y, left, given)
        y = self.conv_out(functional.silu(self.conv_norm_out(y)))
        return y.reshape(batch, frames, -1, height, width).transpose(1, 2)


def published_sums(left: Sequence[Tensor], residuals: Sequence[Tensor], config: VideoConfig) -> list[Tensor]:
    """What the way down left, with the adapter's residuals as the published network adds them.

    It adds all residuals that have a partner after every level, so that those of the finest level are added once per
    level: four, four, four, four, three, three, three, two, two, two, one and one times. The adapter was trained so.

    Args:
        left: features after each step of the way down, (B * T, C, h, w) each.
        residuals: as many, of the same shapes.
        config: of the network.

    Raises:
        ValueError: another number of residuals.
    """
    if len(residuals) != len(left):
        raise ValueError(f"{len(residuals)} residuals for {len(left)} steps")
    levels = len(config.block_out_channels)
    times, sums = [levels], []
    for level in range(levels):
        times += [levels - level] * (config.layers_per_block + (level + 1 < levels))
    for x, residual, count in zip(left, residuals, times, strict=True):
        sums.append(x + count * residual)
    return sums
