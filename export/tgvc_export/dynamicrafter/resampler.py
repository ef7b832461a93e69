"""The image projection of DynamiCrafter: tokens of a CLIP tower to a fixed number of context tokens per frame.

Parameters are named as in the published files, below ``image_proj_model.``. Source: the perceiver resampler of
Flamingo (Alayrac et al. 2022) as DynamiCrafter uses it; written from its description.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class ResamplerConfig:
    """Sizes of an image projection; names as in the published configuration.

    ``num_queries`` tokens for each of ``video_length`` frames come out, of width ``output_dim``; a published
    ``video_length`` of none is 1.
    """

    dim: int = 1024
    depth: int = 4
    dim_head: int = 64
    heads: int = 12
    num_queries: int = 16
    embedding_dim: int = 1280
    output_dim: int = 1024
    ff_mult: int = 4
    video_length: int = 16

    @property
    def tokens(self) -> int:
        """All tokens that come out."""
        return self.num_queries * self.video_length

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> ResamplerConfig:
        """From the options of the published configuration.

        Raises:
            ValueError: an unknown option.
        """
        unknown = set(options) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(f"options {', '.join(sorted(unknown))}: not those of this image projection")
        return cls(**{name: 1 if value is None else value for name, value in options.items()})


class PerceiverAttention(nn.Module):
    """Latents look at tokens and at themselves."""

    def __init__(self, dim: int, heads: int, dim_head: int) -> None:
        super().__init__()
        self.heads, self.dim_head = heads, dim_head
        inner = heads * dim_head
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        """Tokens (N, L, C) and latents (N, M, C) to what is added to the latents, (N, M, C)."""
        tokens, latents = self.norm1(x), self.norm2(latents)
        k, v = self.to_kv(torch.cat([tokens, latents], dim=1)).chunk(2, dim=-1)
        heads = (self._split(part) for part in (self.to_q(latents), k, v))
        mixed = functional.scaled_dot_product_attention(*heads)
        return self.to_out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, self.dim_head)).transpose(1, 2)


def feed_forward(dim: int, multiple: int) -> nn.Sequential:
    """Normalisation and two dense layers with an exact GELU between them."""
    inner = dim * multiple
    return nn.Sequential(
        nn.LayerNorm(dim), nn.Linear(dim, inner, bias=False), nn.GELU(), nn.Linear(inner, dim, bias=False)
    )


class Resampler(nn.Module):
    """Tokens (N, L, embedding_dim) of an image tower to context (N, M, output_dim).

    The ``num_queries`` tokens of the first frame come first.
    """

    def __init__(self, config: ResamplerConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or ResamplerConfig()
        self.latents = nn.Parameter(nn.init.normal_(torch.empty(1, c.tokens, c.dim), std=c.dim**-0.5))
        self.proj_in, self.proj_out = nn.Linear(c.embedding_dim, c.dim), nn.Linear(c.dim, c.output_dim)
        self.norm_out = nn.LayerNorm(c.output_dim)
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(c.dim, c.heads, c.dim_head), feed_forward(c.dim, c.ff_mult)])
            for _ in range(c.depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.proj_in(x)
        latents = self.latents.expand(x.shape[0], -1, -1)
        for attention, forward in self.layers:
            latents = latents + attention(x, latents)
            latents = latents + forward(latents)
        return self.norm_out(self.proj_out(latents))
