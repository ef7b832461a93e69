"""The levels of the video network: down, the coarsest, up. Parameters are named as in the published files."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tgvc_export.mofa.attention import Embedding, Transformer, waves
from tgvc_export.mofa.config import VideoConfig
from tgvc_export.mofa.residual import Downsample, Given, ResBlock, Upsample

# epsilons of norms, which say where in the network they are
_EPS, _EPS_PLAIN = 1e-6, 1e-5


class DownLevel(nn.Module):
    """Residual blocks of one size, each with a transformer where there are ``heads``, then perhaps half the size."""

    def __init__(self, config: VideoConfig, inputs: int, outputs: int, heads: int, halved: bool) -> None:
        super().__init__()
        eps, depth = (_EPS if heads else _EPS_PLAIN), range(config.layers_per_block)
        self.resnets = nn.ModuleList(ResBlock(outputs if n else inputs, outputs, config.embedded, eps) for n in depth)
        if heads:
            self.attentions = nn.ModuleList(_transformer(config, outputs, heads) for _ in depth)
        if halved:
            self.downsamplers = nn.ModuleList([Downsample(outputs)])

    def forward(self, x: Tensor, given: Given) -> tuple[Tensor, list[Tensor]]:
        """Features to those at the end, and those after every step."""
        steps = []
        for n, block in enumerate(self.resnets):
            x = block(x, given)
            if hasattr(self, "attentions"):
                x = self.attentions[n](x, given)
            steps.append(x)
        if hasattr(self, "downsamplers"):
            x = self.downsamplers[0](x)
            steps.append(x)
        return x, steps


class Middle(nn.Module):
    """The coarsest part: a residual block, a transformer, a residual block."""

    def __init__(self, config: VideoConfig) -> None:
        super().__init__()
        width = config.block_out_channels[-1]
        self.resnets = nn.ModuleList(ResBlock(width, width, config.embedded, _EPS_PLAIN) for _ in range(2))
        self.attentions = nn.ModuleList([_transformer(config, width, config.num_attention_heads[-1])])

    def forward(self, x: Tensor, given: Given) -> Tensor:
        """Features to the same shape."""
        return self.resnets[1](self.attentions[0](self.resnets[0](x, given), given), given)


class UpLevel(nn.Module):
    """Residual blocks that are each given what the way down left, perhaps transformers, then perhaps twice the size."""

    def __init__(self, config: VideoConfig, inputs: Sequence[int], outputs: int, heads: int, doubled: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResBlock(width, outputs, config.embedded, _EPS) for width in inputs)
        if heads:
            self.attentions = nn.ModuleList(_transformer(config, outputs, heads) for _ in inputs)
        if doubled:
            self.upsamplers = nn.ModuleList([Upsample(outputs)])

    def forward(self, x: Tensor, left: list[Tensor], given: Given) -> Tensor:
        """Features to others; takes as many from the end of ``left`` as it has blocks."""
        for n, block in enumerate(self.resnets):
            x = block(torch.cat([x, left.pop()], dim=1), given)
            if hasattr(self, "attentions"):
                x = self.attentions[n](x, given)
        return self.upsamplers[0](x) if hasattr(self, "upsamplers") else x


class Descent(nn.Module):
    """What the UNet and its copy in the adapter share: conditions, the way down, the coarsest part."""

    def __init__(self, config: VideoConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.block_out_channels
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = Embedding(widths[0], config.embedded, config.embedded)
        self.add_embedding = Embedding(config.projection_class_embeddings_input_dim, config.embedded, config.embedded)
        self.down_blocks = nn.ModuleList(
            DownLevel(config, widths[max(n - 1, 0)], width, config.heads(n), n + 1 < len(widths))
            for n, width in enumerate(widths)
        )
        self.mid_block = Middle(config)

    def begin(self, x: Tensor, t: Tensor, ids: Tensor, token: Tensor) -> tuple[Tensor, Given]:
        """First features, and what the blocks are told.

        Args:
            x: (B, 2C, T, h, w).
            t: (B,), noise as the published sampler tells it: a quarter of the log of its deviation.
            ids: (B, 3): frame rate less one, motion bucket, deviation of the noise on the key picture.
            token: (B, D), embedding of the key picture.
        """
        batch, channels, frames, height, width = x.shape
        told = waves(ids.reshape(-1), self.config.addition_time_embed_dim).reshape(batch, -1)
        embedding = self.time_embedding(waves(t, self.config.block_out_channels[0])) + self.add_embedding(told)
        y = x.transpose(1, 2).reshape(batch * frames, channels, height, width)
        return self.conv_in(y), Given(embedding, token, batch, frames)


def _transformer(config: VideoConfig, width: int, heads: int) -> Transformer:
    return Transformer(width, heads, config.cross_attention_dim, config.transformer_layers_per_block)
