"""The transformer that both towers are made of. Source: Radford et al. 2021; names as OpenCLIP has them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

MASKED = -1e4  # below every logit by so much that softmax gives exactly 0; unlike infinity it fits in every type


class SelfAttention(nn.Module):
    """Attention whose queries, keys and values come from one matrix."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = random_parameter(3 * width, width, std=width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Tensor (N, L, C) to the same shape."""
        parts = functional.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = functional.scaled_dot_product_attention(q, k, v, None if mask is None else mask.to(x.dtype))
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    """Two dense layers with an exact GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tensor (..., C) to the same shape."""
        return self.c_proj(functional.gelu(self.c_fc(x)))


class Block(nn.Module):
    """Attention and dense layers, each after a normalisation and beside the identity."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), SelfAttention(width, heads)
        self.ln_2, self.mlp = nn.LayerNorm(width), Perceptron(width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Tensor (N, L, C) to the same shape."""
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Blocks one after the other."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None, left_out: int = 0) -> Tensor:
        """Tensor (N, L, C) to the same shape, without the last ``left_out`` blocks."""
        for block in self.resblocks[: len(self.resblocks) - left_out]:
            x = block(x, mask)
        return x


def random_parameter(*shape: int, std: float) -> nn.Parameter:
    """Normal numbers, float32."""
    return nn.Parameter(nn.init.normal_(torch.empty(shape), std=std))


def causal_mask(length: int) -> Tensor:
    """Float32 (L, L) to add to logits: no token sees those after it."""
    return torch.full((length, length), MASKED).triu(1)
