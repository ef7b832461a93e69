"""The autoencoder of DynamiCrafter, which is that of Stable Diffusion 1: pictures to moments of latents, and back.

Parameters are named as in the published files, below ``first_stage_model.``. Source: the structure of AutoencoderKL
(Rombach et al. 2022) as DynamiCrafter uses it; written from its description.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LATENT_SCALE = 0.18215  # what samples of the posterior are multiplied by for diffusion
_GROUPS, _EPS = 32, 1e-6


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes of an autoencoder.

    ``width``: channels of the finest level; ``multiples``: channels of each level in units of that, finest first;
    ``depth``: residual blocks of a level of the encoder, the decoder has one more; ``latents``: C, their channels;
    ``inner``: half the channels that the encoder ends with; ``channels``: of a picture.
    """

    width: int = 128
    multiples: tuple[int, ...] = (1, 2, 4, 4)
    depth: int = 2
    latents: int = 4
    inner: int = 4
    channels: int = 3

    @property
    def cell_px(self) -> int:
        """Width and height of a latent cell in px."""
        return int(2 ** (len(self.multiples) - 1))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the levels, finest first."""
        return tuple(self.width * multiple for multiple in self.multiples)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> AutoencoderConfig:
        """From the options of the published configuration: ``ddconfig`` and ``embed_dim``.

        Raises:
            ValueError: options of a network that this is not.
        """
        inner = options["ddconfig"]
        if inner["attn_resolutions"] or not inner["double_z"] or inner["in_channels"] != inner["out_ch"]:
            raise ValueError(f"ddconfig {dict(inner)}: expected double_z, no attn_resolutions, in_channels == out_ch")
        return cls(
            width=inner["ch"],
            multiples=tuple(inner["ch_mult"]),
            depth=inner["num_res_blocks"],
            latents=options["embed_dim"],
            inner=inner["z_channels"],
            channels=inner["in_channels"],
        )


class Residual(nn.Module):
    """Two normalised 3 x 3 convolutions beside the identity, or beside a 1 x 1 convolution where widths differ."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(inputs), _conv(inputs, outputs)
        self.norm2, self.conv2 = _norm(outputs), _conv(outputs, outputs)
        if inputs != outputs:
            self.nin_shortcut = _conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Tensor (N, inputs, h, w) to (N, outputs, h, w)."""
        y = self.conv1(functional.silu(self.norm1(x)))
        y = self.conv2(functional.silu(self.norm2(y)))
        return (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x) + y


class Attention(nn.Module):
    """One head over all places of a picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q, self.k, self.v, self.proj_out = (_conv(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Tensor (N, C, h, w) to the same shape."""
        normed = self.norm(x)
        q, k, v = (layer(normed).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        return x + self.proj_out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))


class Downsample(nn.Module):
    """Half the size; the border of zeros is on the right and at the bottom only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Tensor (N, C, 2h, 2w) to (N, C, h, w)."""
        return self.conv(functional.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Twice the size: every value four times, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Tensor (N, C, h, w) to (N, C, 2h, 2w)."""
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class Middle(nn.Module):
    """The coarsest part: a residual block, attention, a residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1, self.block_2 = Residual(channels, channels), Residual(channels, channels)
        self.attn_1 = Attention(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Tensor (N, C, h, w) to the same shape."""
        return self.block_2(self.attn_1(self.block_1(x)))


class Level(nn.Module):
    """Residual blocks of one size, then perhaps a change of size, called as the published files call it."""

    def __init__(self, inputs: int, outputs: int, depth: int, **resample: nn.Module) -> None:
        super().__init__()
        self.block = nn.ModuleList(Residual(outputs if n else inputs, outputs) for n in range(depth))
        self._resample = next(iter(resample), "")
        for name, module in resample.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        """Tensor (N, inputs, h, w) to (N, outputs, ...)."""
        for block in self.block:
            x = block(x)
        return getattr(self, self._resample)(x) if self._resample else x


class Encoder(nn.Module):
    """Pictures float32 (N, 3, H, W) in -1..1 to twice the inner channels, (N, ..., h, w)."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.widths
        last = len(widths) - 1
        self.conv_in = _conv(config.channels, widths[0])
        self.down = nn.ModuleList(
            Level(widths[max(n - 1, 0)], width, config.depth, **({"downsample": Downsample(width)} if n < last else {}))
            for n, width in enumerate(widths)
        )
        self.mid = Middle(widths[-1])
        self.norm_out = _norm(widths[-1])
        self.conv_out = _conv(widths[-1], 2 * config.inner)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(functional.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """Inner channels (N, ..., h, w) to pictures (N, 3, H, W), not cut to -1..1."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.widths
        above = (*widths[1:], widths[-1])  # what each level gets, from the next coarser one
        self.conv_in = _conv(config.inner, widths[-1])
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList(
            Level(coarse, width, config.depth + 1, **({"upsample": Upsample(width)} if n else {}))
            for n, (coarse, width) in enumerate(zip(above, widths, strict=True))
        )
        self.norm_out = _norm(widths[0])
        self.conv_out = _conv(widths[0], config.channels)

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        x = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(functional.silu(self.norm_out(x)))


class Autoencoder(nn.Module):
    """Both halves, as the published files hold them."""

    def __init__(self, config: AutoencoderConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or AutoencoderConfig()
        self.encoder, self.decoder = Encoder(c), Decoder(c)
        self.quant_conv = _conv(2 * c.inner, 2 * c.latents, 1)
        self.post_quant_conv = _conv(c.latents, c.inner, 1)

    def encode(self, picture: Tensor) -> Tensor:
        """Mean and logarithm of the variance, (N, 2C, h, w) in this order, of pictures (N, 3, H, W) in -1..1.

        The logarithm is as the network gives it; whoever draws a sample has to cut it to -30..20 first.
        """
        return self.quant_conv(self.encoder(picture))

    def decode(self, z: Tensor) -> Tensor:
        """Pictures (N, 3, H, W), not cut to -1..1, of latents (N, C, h, w) that were divided by `LATENT_SCALE`."""
        return self.decoder(self.post_quant_conv(z))

    def forward(self, picture: Tensor) -> Tensor:
        """The picture of the mean of the latents."""
        return self.decode(self.encode(picture).chunk(2, dim=1)[0])


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels, eps=_EPS)


def _conv(inputs: int, outputs: int, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2)


def sample_moments(moments: Tensor, noise: Tensor) -> Tensor:
    """Latents (N, C, h, w) drawn from moments (N, 2C, h, w) with given normal noise (N, C, h, w), not scaled."""
    mean, logvar = moments.chunk(2, dim=1)
    return mean + torch.exp(logvar.clamp(-30.0, 20.0) / 2) * noise
