"""Transformer blocks of both trackers.

Sums run in the type of the weights, norms in float32, so that the modules can be cast to halves; the export widens
softmax as well.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

NORM_EPSILON = 1e-6  # of the norms without weights; `norm_context` has weights and torch's usual 1e-5
MLP_RATIO = 4


class Attention(nn.Module):
    """Attention with ``heads`` heads; keys and values come from one layer, keys first. All layers have a bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads={heads}: expected a divisor of the width {width}")
        self.heads = heads
        self.to_q = nn.Linear(width, width)
        self.to_kv = nn.Linear(width, 2 * width)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """Queries (B, L, C) and context (B, M, C) to (B, L, C).

        ``mask``: bool, broadcastable to (B, heads, L, M); where it is False nothing is looked at. A row that is False
        throughout looks at everything alike.
        """
        key, value = self.to_kv(context).chunk(2, dim=-1)
        query, key, value = (self._split(part) for part in (self.to_q(x), key, value))
        bias = None
        if mask is not None:
            bias = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
        seen = functional.scaled_dot_product_attention(query, key, value, bias)
        return self.to_out(seen.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Mlp(nn.Module):
    """Two layers with a GELU between, of the form with a tangent."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tensor (..., C) to the same shape."""
        return self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))


class SelfBlock(nn.Module):
    """Attention of a sequence to itself, then a perceptron, each after a norm and beside the identity."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """Tensor (B, L, C) to the same shape."""
        normed = plain_norm(x)
        x = x + self.attn(normed, normed)
        return x + self.mlp(plain_norm(x))


class CrossBlock(nn.Module):
    """The same with attention to another sequence, which has a norm with weights."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_context = nn.LayerNorm(width)
        self.cross_attn = Attention(width, heads)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tensor (B, L, C) and context (B, M, C) to (B, L, C); ``mask`` as for `Attention`."""
        x = x + self.cross_attn(plain_norm(x), weighted_norm(context, self.norm_context), mask)
        return x + self.mlp(plain_norm(x))


def plain_norm(x: Tensor) -> Tensor:
    """Layer norm without weights over the last dimension, in float32, given back in the type of ``x``."""
    return functional.layer_norm(x.float(), (x.shape[-1],), eps=NORM_EPSILON).to(x.dtype)


def weighted_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Layer norm with weights, in float32, given back in the type of ``x``."""
    weight, bias = norm.weight.float(), norm.bias.float()
    return functional.layer_norm(x.float(), norm.normalized_shape, weight, bias, norm.eps).to(x.dtype)
