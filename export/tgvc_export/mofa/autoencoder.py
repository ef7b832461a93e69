"""The autoencoder of Stable Video Diffusion: pictures to moments of latents, and latents of T frames to pictures.

Parameters are named as in ``vae/diffusion_pytorch_model.safetensors``. Source: the structure of
AutoencoderKLTemporalDecoder of diffusers; written from names, shapes and formulas.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from tgvc_export.dynamicrafter.unet_blocks import FrameConv
from tgvc_export.mofa.config import TemporalVaeConfig
from tgvc_export.mofa.residual import GROUPS, Downsample, Given, PictureBlock, ResBlock, Upsample

_EPS, _FRAME_EPS = 1e-6, 1e-5


class PlaceAttention(nn.Module):
    """One head over all places of a picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(GROUPS, channels, _EPS)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.Sequential(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, C, h, w) to the same shape."""
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)
        q, k, v = (layer(tokens) for layer in (self.to_q, self.to_k, self.to_v))
        y = self.to_out(functional.scaled_dot_product_attention(q, k, v))
        return x + y.transpose(1, 2).reshape(x.shape)


class Middle(nn.Module):
    """The coarsest part of the encoder: a residual block, attention, a residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(PictureBlock(channels, channels, None, _EPS) for _ in range(2))
        self.attentions = nn.ModuleList([PlaceAttention(channels)])

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, C, h, w) to the same shape."""
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class EncoderLevel(nn.Module):
    """Residual blocks of one size, then perhaps half the size."""

    def __init__(self, inputs: int, outputs: int, depth: int, halved: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(PictureBlock(outputs if n else inputs, outputs, None, _EPS) for n in range(depth))
        if halved:
            self.downsamplers = nn.ModuleList([Downsample(outputs, centred=False)])

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, inputs, h, w) to (N, outputs, ...)."""
        for block in self.resnets:
            x = block(x)
        return self.downsamplers[0](x) if hasattr(self, "downsamplers") else x


class Encoder(nn.Module):
    """Pictures (N, 3, H, W) in -1..1 to moments (N, 2C, h, w) before their last convolution."""

    def __init__(self, config: TemporalVaeConfig) -> None:
        super().__init__()
        widths, last = config.block_out_channels, len(config.block_out_channels) - 1
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            EncoderLevel(widths[max(n - 1, 0)], width, config.layers_per_block, n < last)
            for n, width in enumerate(widths)
        )
        self.mid_block = Middle(widths[-1])
        self.conv_norm_out = nn.GroupNorm(GROUPS, widths[-1], _EPS)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(functional.silu(self.conv_norm_out(self.mid_block(x))))


class DecoderMiddle(nn.Module):
    """The coarsest part of the decoder: a residual block, attention, residual blocks."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResBlock(channels, channels, None, _EPS, _FRAME_EPS) for _ in range(depth))
        self.attentions = nn.ModuleList([PlaceAttention(channels)])

    def forward(self, x: Tensor, given: Given) -> Tensor:
        """Features (B * T, C, h, w) to the same shape; no more blocks run than there are attentions to pair with."""
        x = self.attentions[0](self.resnets[0](x, given))
        return self.resnets[1](x, given)


class DecoderLevel(nn.Module):
    """Residual blocks of one size, then perhaps twice the size."""

    def __init__(self, inputs: int, outputs: int, depth: int, doubled: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            ResBlock(outputs if n else inputs, outputs, None, _EPS, _FRAME_EPS) for n in range(depth)
        )
        if doubled:
            self.upsamplers = nn.ModuleList([Upsample(outputs)])

    def forward(self, x: Tensor, given: Given) -> Tensor:
        """Features (B * T, inputs, h, w) to (B * T, outputs, ...)."""
        for block in self.resnets:
            x = block(x, given)
        return self.upsamplers[0](x) if hasattr(self, "upsamplers") else x


class Decoder(nn.Module):
    """Latents of frames to pictures, not cut to -1..1; frames see each other."""

    def __init__(self, config: TemporalVaeConfig) -> None:
        super().__init__()
        widths = tuple(reversed(config.block_out_channels))
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.mid_block = DecoderMiddle(widths[0], config.layers_per_block)
        self.up_blocks = nn.ModuleList(
            DecoderLevel(widths[max(n - 1, 0)], width, config.layers_per_block + 1, n + 1 < len(widths))
            for n, width in enumerate(widths)
        )
        self.conv_norm_out = nn.GroupNorm(GROUPS, widths[-1], _EPS)
        self.conv_out = nn.Conv2d(widths[-1], config.out_channels, 3, padding=1)
        self.time_conv_out = FrameConv(config.out_channels)

    def forward(self, z: Tensor) -> Tensor:
        """Latents (B, T, C, h, w), without the sampler's scale, to pictures (B, T, 3, H, W)."""
        batch, frames, channels, height, width = z.shape
        given = Given(None, None, batch, frames)
        x = self.mid_block(self.conv_in(z.reshape(-1, channels, height, width)), given)
        for level in self.up_blocks:
            x = level(x, given)
        x = self.conv_out(functional.silu(self.conv_norm_out(x)))
        _, colours, height, width = x.shape
        y = x.reshape(batch, frames, colours, height * width).transpose(1, 2)
        return self.time_conv_out(y).transpose(1, 2).reshape(batch, frames, colours, height, width)


class TemporalVae(nn.Module):
    """Both halves, as the published file holds them."""

    def __init__(self, config: TemporalVaeConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or TemporalVaeConfig()
        self.encoder, self.decoder = Encoder(c), Decoder(c)
        self.quant_conv = nn.Conv2d(2 * c.latent_channels, 2 * c.latent_channels, 1)

    def encode(self, picture: Tensor) -> Tensor:
        """Mean and logarithm of the variance (N, 2C, h, w), in this order, of pictures (N, 3, H, W) in -1..1."""
        return self.quant_conv(self.encoder(picture))

    def decode(self, z: Tensor) -> Tensor:
        """See `Decoder`."""
        return self.decoder(z)

    def forward(self, pictures: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) by the mean of their latents."""
        mean = self.encode(pictures.flatten(0, 1)).chunk(2, dim=1)[0]
        return self.decode(mean.unflatten(0, pictures.shape[:2]))
