"""Transformers of the video network: over the places of one frame, and over the frames of one place.

Parameters are named as in the published files. Source: the structure of DynamiCrafter (Xing et al. 2023), written from
its description.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

_GROUPS, _EPS = 32, 1e-6


class Asked(NamedTuple):
    """Keys and values of the text (B * T, heads, 77, d) and of the picture tokens (B * T, heads, M, d) of one layer."""

    text_keys: Tensor
    text_values: Tensor
    image_keys: Tensor
    image_values: Tensor


class TokenConv(nn.Module):
    """A convolution of size 1 over the features of tokens: a dense layer whose weights have axes of length 1 behind.

    Its parameter has the shape of the published files, ``rank`` axes.
    """

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *[1] * (rank - 2)))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (..., inputs) to (..., outputs)."""
        return functional.linear(x, self.weight.flatten(1), self.bias)


class GatedLayer(nn.Module):
    """A dense layer whose second half, through an exact GELU, gates the first."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inputs, 2 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (..., inputs) to (..., outputs)."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * functional.gelu(gate)


class FeedForward(nn.Module):
    """Two dense layers, four times as wide in between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GatedLayer(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (..., C) to the same shape."""
        return self.net(x)


class Attention(nn.Module):
    """Attention of tokens to themselves; or to text and to the tokens of a picture, whose answers are added.

    Args:
        width: C, features of the tokens that ask.
        heads: number of heads.
        context: features of what is asked; ``width`` for tokens that ask themselves.
        picture: whether a picture is asked too, with keys and values of its own.
    """

    def __init__(self, width: int, heads: int, context: int | None = None, picture: bool = False) -> None:
        super().__init__()
        self.heads = heads
        asked = context or width
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k, self.to_v = nn.Linear(asked, width, bias=False), nn.Linear(asked, width, bias=False)
        if picture:
            self.to_k_ip, self.to_v_ip = nn.Linear(asked, width, bias=False), nn.Linear(asked, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, L, C) that ask each other; the same shape."""
        q, k, v = (self._split(layer(x)) for layer in (self.to_q, self.to_k, self.to_v))
        return self._join(functional.scaled_dot_product_attention(q, k, v))

    def attend_conditions(self, x: Tensor, asked: Asked) -> Tensor:
        """Tokens (B * T, L, C) that ask text and picture, whose keys and values were made before; the same shape."""
        q = self._split(self.to_q(x))
        y = functional.scaled_dot_product_attention(q, asked.text_keys, asked.text_values)
        return self._join(y + functional.scaled_dot_product_attention(q, asked.image_keys, asked.image_values))

    @property
    def head_width(self) -> int:
        """Features of a head."""
        features: int = self.to_q.out_features
        return features // self.heads

    def _split(self, x: Tensor) -> Tensor:
        return split_heads(x, self.head_width)

    def _join(self, x: Tensor) -> Tensor:
        n, heads, length, width = x.shape
        return self.to_out(x.transpose(1, 2).reshape(n, length, heads * width))


class Block(nn.Module):
    """Attention, attention, dense layers; each after a norm and beside the identity."""

    def __init__(self, width: int, heads: int, context: int | None = None) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attn1 = Attention(width, heads)
        self.attn2 = Attention(width, heads, context, picture=context is not None)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, asked: Asked | None = None) -> Tensor:
        """Tokens (N, L, C) to the same shape; without conditions both attentions are of the tokens to themselves."""
        x = x + self.attn1(self.norm1(x))
        y = self.norm2(x)
        x = x + (self.attn2(y) if asked is None else self.attn2.attend_conditions(y, asked))
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Attention over the places of each frame, to the text and to the frame's picture tokens.

    Args:
        channels: C.
        heads: number of heads.
        head_width: features of a head.
        context: D, features of the conditions.
        depth: number of blocks.
        dense: whether projections are stored as dense layers, else as convolutions.
    """

    def __init__(
        self, channels: int, heads: int, head_width: int, context: int, depth: int = 1, dense: bool = True
    ) -> None:
        super().__init__()
        inner = heads * head_width
        self.norm = nn.GroupNorm(_GROUPS, channels, _EPS)
        self.proj_in = _projection(channels, inner, None if dense else 4)
        self.transformer_blocks = nn.ModuleList(Block(inner, heads, context) for _ in range(depth))
        self.proj_out = _projection(inner, channels, None if dense else 4)

    def forward(self, x: Tensor, asked: Iterator[Asked]) -> Tensor:
        """Features (B * T, C, h, w), and of each block what it asks; gives the shape of the features."""
        y = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        for block in self.transformer_blocks:
            y = block(y, next(asked))
        return x + self.proj_out(y).transpose(1, 2).reshape(x.shape)


class TemporalTransformer(nn.Module):
    """Attention over the frames of each place. Norms take their statistics over all frames; no place is encoded.

    Args:
        channels: C.
        heads: number of heads.
        head_width: features of a head.
        depth: number of blocks.
        dense: whether projections are stored as dense layers, else as convolutions.
    """

    def __init__(self, channels: int, heads: int, head_width: int, depth: int = 1, dense: bool = True) -> None:
        super().__init__()
        inner = heads * head_width
        self.norm = nn.GroupNorm(_GROUPS, channels, _EPS)
        self.proj_in = _projection(channels, inner, None if dense else 3)
        self.transformer_blocks = nn.ModuleList(Block(inner, heads) for _ in range(depth))
        self.proj_out = _projection(inner, channels, None if dense else 3)

    def forward(self, x: Tensor, batch: int, frames: int) -> Tensor:
        """Features (B * T, C, h, w), B, T; gives the shape of the features."""
        _, channels, height, width = x.shape
        places = height * width
        y = self.norm(x.reshape(batch, frames, channels, places).transpose(1, 2))
        y = self.proj_in(y.permute(0, 3, 2, 1).reshape(batch * places, frames, channels))
        for block in self.transformer_blocks:
            y = block(y)
        y = self.proj_out(y).reshape(batch, places, frames, channels)
        return x + y.permute(0, 2, 3, 1).reshape(x.shape)


def split_heads(x: Tensor, width: int) -> Tensor:
    """Features of tokens (..., L, heads * d) as attention wants them: (..., heads, L, d), d being ``width``."""
    return x.unflatten(-1, (-1, width)).transpose(-3, -2)


def _projection(inputs: int, outputs: int, rank: int | None) -> nn.Module:
    return nn.Linear(inputs, outputs) if rank is None else TokenConv(inputs, outputs, rank)
