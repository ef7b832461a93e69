"""The image tower of Stable Video Diffusion: CLIP ViT-H/14 by the names of transformers; only its embedding is used.

Parameters are named as in ``image_encoder/model.safetensors``. Source: Radford et al. 2021, the structure of
CLIPVisionModelWithProjection of transformers; written from names, shapes and formulas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

POSITIONS = "vision_model.embeddings.position_ids"  # whole numbers from 0 on, in files of older releases


@dataclass(frozen=True)
class TowerConfig:
    """Sizes by the names of ``image_encoder/config.json``; the defaults are the published ones.

    ``image_size, patch_size``: of the square picture and its square patches in px. ``projection_dim``: E.
    """

    hidden_size: int = 1280
    intermediate_size: int = 5120
    num_hidden_layers: int = 32
    num_attention_heads: int = 16
    image_size: int = 224
    patch_size: int = 14
    projection_dim: int = 1024

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> TowerConfig:
        """From a ``config.json``, which has many options that say nothing of these layers.

        Raises:
            ValueError: another activation than the exact GELU.
        """
        if (kind := options.get("hidden_act", "gelu")) != "gelu":
            raise ValueError(f"hidden_act={kind!r:.40}: expected gelu")
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in options.items() if name in known})


class Attention(nn.Module):
    """Attention of tokens to each other."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, L, C) to the same shape."""
        n, length, width = x.shape
        q, k, v = (
            layer(x).reshape(n, length, self.heads, -1).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        y = functional.scaled_dot_product_attention(q, k, v)
        return self.out_proj(y.transpose(1, 2).reshape(n, length, width))


class Dense(nn.Module):
    """Two dense layers with an exact GELU in between."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (..., C) to the same shape."""
        return self.fc2(functional.gelu(self.fc1(x)))


class Layer(nn.Module):
    """Attention, then dense layers; each after a norm and beside the identity."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config.hidden_size, config.num_attention_heads)
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(config.hidden_size), nn.LayerNorm(config.hidden_size)
        self.mlp = Dense(config.hidden_size, config.intermediate_size)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, L, C) to the same shape."""
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Patches(nn.Module):
    """Pixels (N, 3, size, size) to tokens (N, L, C), class token first."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.patch_embedding = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.position_embedding = nn.Embedding((config.image_size // patch) ** 2 + 1, width)

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(patches.shape[0], 1, -1)
        return torch.cat([first, patches], dim=1) + self.position_embedding.weight


class Layers(nn.Module):
    """All of them, one after another."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, L, C) to the same shape."""
        for layer in self.layers:
            x = layer(x)
        return x


class VisionTransformer(nn.Module):
    """Pixels (N, 3, size, size) to the normalised class token (N, C)."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.embeddings = Patches(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size)  # spelt so in the published files
        self.encoder = Layers(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        return self.post_layernorm(self.encoder(self.pre_layrnorm(self.embeddings(pixels)))[:, 0])


class EmbeddingTower(nn.Module):
    """Prepared pixels (N, 3, 224, 224) to embeddings (N, E), not of unit length."""

    def __init__(self, config: TowerConfig | None = None) -> None:
        super().__init__()
        self.config = config or TowerConfig()
        self.vision_model = VisionTransformer(self.config)
        self.visual_projection = nn.Linear(self.config.hidden_size, self.config.projection_dim, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        return self.visual_projection(self.vision_model(pixels))
