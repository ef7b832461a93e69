"""Transformers of the video network: over the places of a frame, then over the frames of a place, and how they mix.

Both are shown the key picture as one token. Attention to a single token gives that token's value, whoever asks, so
neither questions nor keys are computed; the published files hold their weights all the same, and so do these modules.
Parameters are named as in the published files. Source: the structure of Stable Video Diffusion as diffusers keeps it;
written from names, shapes and formulas.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tgvc_export.dynamicrafter.attention import Attention, FeedForward
from tgvc_export.mofa.residual import GROUPS, Given, Mixer

_EPS = 1e-6
_LONGEST = 10000.0  # period of the slowest sine in units of 2 pi


def waves(values: Tensor, count: int) -> Tensor:
    """Cosines, then sines, of falling rates: numbers (N,) to float32 (N, count)."""
    half = count // 2
    steps = torch.arange(half, dtype=torch.float32, device=values.device)
    angles = values.float()[:, None] * torch.exp(-math.log(_LONGEST) / half * steps)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class Embedding(nn.Module):
    """Two dense layers with a SiLU in between."""

    def __init__(self, inputs: int, inner: int, outputs: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(inputs, inner), nn.Linear(inner, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, inputs) to (N, outputs), of the weights' type."""
        return self.linear_2(functional.silu(self.linear_1(x.to(self.linear_1.weight.dtype))))


class TokenValue(nn.Module):
    """Attention to one token. ``to_q`` and ``to_k`` are held and not used, see the module."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k, self.to_v = nn.Linear(context, width, bias=False), nn.Linear(context, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, token: Tensor) -> Tensor:
        """Tokens (N, D) to answers (N, C)."""
        return self.to_out(self.to_v(token))


class PlaceBlock(nn.Module):
    """Attention to each other, the answer of the key picture's token, dense layers; each beside the identity."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attn1 = Attention(width, heads)
        self.attn2 = TokenValue(width, context)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, answer: Tensor) -> Tensor:
        """Tokens (N, L, C), answers (N, 1, C) of ``attn2``; gives the shape of the tokens."""
        x = x + self.attn1(self.norm1(x)) + answer
        return x + self.ff(self.norm3(x))


class MomentBlock(PlaceBlock):
    """The same with dense layers before."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__(width, heads, context)
        self.norm_in, self.ff_in = nn.LayerNorm(width), FeedForward(width)

    def forward(self, x: Tensor, answer: Tensor) -> Tensor:
        """See `PlaceBlock`."""
        return super().forward(x + self.ff_in(self.norm_in(x)), answer)


class Transformer(nn.Module):
    """Both, one after the other and mixed, beside the identity.

    Args:
        channels: C.
        heads: number of heads.
        context: D, features of the key picture's token.
        depth: number of blocks of each kind.
    """

    def __init__(self, channels: int, heads: int, context: int, depth: int = 1) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels, _EPS)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(PlaceBlock(channels, heads, context) for _ in range(depth))
        self.temporal_transformer_blocks = nn.ModuleList(MomentBlock(channels, heads, context) for _ in range(depth))
        self.time_pos_embed = Embedding(channels, 4 * channels, channels)
        self.time_mixer = Mixer()
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, given: Given) -> Tensor:
        """Features (B * T, C, h, w) to the same shape."""
        if given.token is None:
            raise ValueError("a transformer without a token of the key picture")
        _, channels, height, width = x.shape
        batch, frames, places = given.batch, given.frames, height * width
        when = waves(torch.arange(frames, device=x.device), channels)
        y = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        for place, moment in zip(self.transformer_blocks, self.temporal_transformer_blocks, strict=True):
            y = place(y, given.per_frame(place.attn2(given.token))[:, None])
            moving = y.reshape(batch, frames, places, channels) + self.time_pos_embed(when)[:, None]
            answer = moment.attn2(given.token)[:, None].expand(batch, places, channels)
            moving = moment(
                moving.transpose(1, 2).reshape(batch * places, frames, channels),
                answer.reshape(batch * places, 1, channels),
            )
            moving = moving.reshape(batch, places, frames, channels).transpose(1, 2)
            y = self.time_mixer(y, moving.reshape(batch * frames, places, channels))
        return x + self.proj_out(y).transpose(1, 2).reshape(x.shape)
