"""The video network of DynamiCrafter: predicts v of noisy latents of 16 frames, given text, a picture and a frame rate.

What it is told beside the latents is computed apart from it, see `tgvc_export.dynamicrafter.conditions`. Parameters are
named as in the published files, below ``model.diffusion_model.``. Source: the structure of DynamiCrafter's 512-pixel
models (Xing et al. 2023), written from its description.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from tgvc_export.dynamicrafter.attention import Asked, Attention, SpatialTransformer, TemporalTransformer
from tgvc_export.dynamicrafter.conditions import ContextNetwork, TimeNetwork, deal_context, deal_shifts
from tgvc_export.dynamicrafter.unet_blocks import Downsample, Head, NumberEmbedding, ResBlock, Upsample

TEXT_TOKENS = 77
IMAGE_TOKENS = 16  # of one frame, where each frame has its own
_FIRST_HEADS = 8  # of the attention behind the first convolution, whatever its width


@dataclass(frozen=True)
class UNetConfig:
    """Options of the published configuration, by its names; the defaults are those of the 512-pixel models.

    ``attention_resolutions``: factors of downsampling at which there are transformers. ``channel_mult``: channels of
    each level in units of ``model_channels``. ``default_fs``: frames per second where none are given. The last five
    must have their published values, other networks are not these.
    """

    in_channels: int = 8
    out_channels: int = 4
    model_channels: int = 320
    attention_resolutions: Sequence[int] = (4, 2, 1)
    num_res_blocks: int = 2
    channel_mult: Sequence[int] = (1, 2, 4, 4)
    dropout: float = 0.1
    num_head_channels: int = 64
    transformer_depth: int = 1
    context_dim: int = 1024
    use_linear: bool = True
    temporal_conv: bool = True
    temporal_attention: bool = True
    addition_attention: bool = True
    fs_condition: bool = True
    default_fs: int = 24
    temporal_length: int = 16  # says nothing of a network without relative positions
    use_checkpoint: bool = False  # says nothing where no gradients are taken
    image_cross_attention: bool = True
    temporal_selfatt_only: bool = True
    use_relative_position: bool = False
    use_causal_attention: bool = False

    def __post_init__(self) -> None:
        published = {
            "image_cross_attention": True,
            "temporal_selfatt_only": True,
            "use_relative_position": False,
            "use_causal_attention": False,
        }
        for name, value in published.items():
            if getattr(self, name) != value:
                raise ValueError(f"{name}={getattr(self, name)}: expected {value}, as the published models have it")
        for level, factor in enumerate(self.channel_mult):
            width = factor * self.model_channels
            if width % 32 or width % self.num_head_channels:
                raise ValueError(
                    f"level {level} has {width} channels: expected a multiple of 32 and of num_head_channels="
                    f"{self.num_head_channels}"
                )

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> UNetConfig:
        """From the options of a published configuration.

        Raises:
            ValueError: an option is not known, or is that of another network.
        """
        if unknown := set(options) - {field.name for field in fields(cls)}:
            raise ValueError(f"unknown options {', '.join(sorted(unknown))} of the video network")
        return cls(**options)


class Stage(nn.Sequential):
    """Modules one after another, each given what it takes."""

    def forward(self, x: Tensor, shifts: Iterator[Tensor], asked: Iterator[Asked], batch: int, frames: int) -> Tensor:
        """Features (B * T, C, h, w) to others; shifts and keys and values as they are dealt out."""
        for module in self:
            if isinstance(module, ResBlock):
                x = module(x, next(shifts), batch, frames)
            elif isinstance(module, SpatialTransformer):
                x = module(x, asked)
            elif isinstance(module, TemporalTransformer):
                x = module(x, batch, frames)
            else:
                x = module(x)
        return x


class UNet3D(nn.Module):
    """The network; see the module. Options by name, see `UNetConfig`."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        config = self.config = UNetConfig.from_options(options)
        base, embedded = config.model_channels, 4 * config.model_channels
        self.time_embed = NumberEmbedding(base, embedded)
        if config.fs_condition:
            self.fps_embedding = NumberEmbedding(base, embedded)
        if config.addition_attention:
            first = TemporalTransformer(
                base, _FIRST_HEADS, config.num_head_channels, config.transformer_depth, dense=False
            )
            self.init_attn = nn.Sequential(first)
        self.input_blocks = nn.ModuleList([Stage(nn.Conv2d(config.in_channels, base, 3, padding=1))])
        skipped, width, factor = [base], base, 1
        for level, multiple in enumerate(config.channel_mult):
            for _ in range(config.num_res_blocks):
                self.input_blocks.append(Stage(*self._layers(width, multiple * base, factor)))
                width = multiple * base
                skipped.append(width)
            if level + 1 < len(config.channel_mult):
                self.input_blocks.append(Stage(Downsample(width)))
                skipped.append(width)
                factor *= 2
        self.middle_block = Stage(self._res(width, width), *self._transformers(width), self._res(width, width))
        self.output_blocks = nn.ModuleList()
        for level, multiple in reversed(list(enumerate(config.channel_mult))):
            for number in range(config.num_res_blocks + 1):
                layers = self._layers(width + skipped.pop(), multiple * base, factor)
                width = multiple * base
                if level and number == config.num_res_blocks:
                    layers.append(Upsample(width))
                    factor //= 2
                self.output_blocks.append(Stage(*layers))
        self.out = Head(width, config.out_channels)

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, fs: Tensor | None = None) -> Tensor:
        """Predict v as the published network is called.

        Args:
            x: (B, 8, T, h, w), noisy latents before conditioning latents.
            timesteps: (B,) whole numbers.
            context: (B, L, D), see `split_context`.
            fs: (B,) frames per second, whole numbers; ``default_fs`` if None.

        Returns:
            v (B, 4, T, h, w).
        """
        if fs is None:
            fs = torch.full_like(timesteps, self.config.default_fs)
        shifts = self.time_network()(timesteps, fs)
        return self.predict(x, shifts, *self.context_network()(*split_context(context, x.shape[2])))

    def predict(self, x: Tensor, shifts: Tensor, text_kv: Tensor, image_kv: Tensor) -> Tensor:
        """Predict v.

        Args:
            x: (B, 8, T, h, w), noisy latents before conditioning latents; h and w multiples of 8.
            shifts: (B, W) of `time_network`.
            text_kv: (B, H, 77, d) of `context_network`.
            image_kv: (B, T, H, M, d) of `context_network`.

        Returns:
            v (B, 4, T, h, w).
        """
        batch, channels, frames, height, width = x.shape
        dealt = deal_shifts(shifts, frames, [block.outputs for block in self.residual_blocks()])
        asked = deal_context(text_kv, image_kv, [layer.heads for layer in self.asking_layers()])
        given = dealt, asked, batch, frames
        y = x.transpose(1, 2).reshape(batch * frames, channels, height, width)
        skipped: list[Tensor] = []
        for number, stage in enumerate(self.input_blocks):
            y = stage(y, *given)
            if number == 0 and self.config.addition_attention:
                y = self.init_attn[0](y, batch, frames)
            skipped.append(y)
        y = self.middle_block(y, *given)
        for stage in self.output_blocks:
            y = stage(torch.cat([y, skipped.pop()], dim=1), *given)
        return self.out(y).reshape(batch, frames, -1, height, width).transpose(1, 2)

    def time_network(self) -> TimeNetwork:
        """The part that sees time step and frame rate; it shares its weights with this network."""
        layers = [block.emb_layers for block in self.residual_blocks()]
        return TimeNetwork(self.time_embed, self.fps_embedding if self.config.fs_condition else None, layers)

    def context_network(self) -> ContextNetwork:
        """The part that sees text and picture tokens; it shares its weights with this network."""
        return ContextNetwork(self.asking_layers())

    def residual_blocks(self) -> list[ResBlock]:
        """In the order of use."""
        return [module for module in self.modules() if isinstance(module, ResBlock)]

    def asking_layers(self) -> list[Attention]:
        """The layers that ask text and picture, in the order of use."""
        places = [module for module in self.modules() if isinstance(module, SpatialTransformer)]
        return [block.attn2 for place in places for block in place.transformer_blocks]

    def _layers(self, inputs: int, outputs: int, factor: int) -> list[nn.Module]:
        layers: list[nn.Module] = [self._res(inputs, outputs)]
        if factor in self.config.attention_resolutions:
            layers += self._transformers(outputs)
        return layers

    def _res(self, inputs: int, outputs: int) -> ResBlock:
        config = self.config
        return ResBlock(inputs, outputs, 4 * config.model_channels, config.dropout, config.temporal_conv)

    def _transformers(self, width: int) -> list[nn.Module]:
        config = self.config
        size = width, width // config.num_head_channels, config.num_head_channels
        depth, dense = config.transformer_depth, config.use_linear
        layers: list[nn.Module] = [SpatialTransformer(*size, config.context_dim, depth, dense)]
        if config.temporal_attention:
            layers.append(TemporalTransformer(*size, depth, dense))
        return layers


class UNetGraph(nn.Module):
    """The network with the inputs of a bundle, for export: without what `TimeNetwork` and `ContextNetwork` compute.

    Args:
        unet: which loses these parts; networks that were made of them before keep them.
    """

    def __init__(self, unet: UNet3D) -> None:
        super().__init__()
        self.unet = unet
        for name in ("time_embed", "fps_embedding"):
            if hasattr(unet, name):
                delattr(unet, name)
        for block in unet.residual_blocks():
            del block.emb_layers
        for layer in unet.asking_layers():
            del layer.to_k, layer.to_v, layer.to_k_ip, layer.to_v_ip

    def forward(self, x: Tensor, shifts: Tensor, text_kv: Tensor, image_kv: Tensor) -> Tensor:
        """See `UNet3D.predict`."""
        return self.unet.predict(x, shifts, text_kv, image_kv)


def split_context(context: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Tokens of text and of the picture, as the published network tells them apart.

    Args:
        context: (B, L, D). If L is 77 + 16 T, every frame has 16 picture tokens of its own, frame by frame; otherwise
            all tokens after the 77th are shown to every frame.
        frames: T.

    Returns:
        text (B, 77, D), image (B, T, M, D).
    """
    batch, _, width = context.shape
    text, image = context[:, :TEXT_TOKENS], context[:, TEXT_TOKENS:]
    if image.shape[1] == IMAGE_TOKENS * frames:
        return text, image.reshape(batch, frames, IMAGE_TOKENS, width)
    return text, image.unsqueeze(1).expand(batch, frames, *image.shape[1:])
