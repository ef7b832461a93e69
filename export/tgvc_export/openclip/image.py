"""The image tower of OpenCLIP: tokens of a picture, and its embedding.

Parameters are named as in the published files of DynamiCrafter, below ``embedder.``. Source: Radford et al. 2021,
OpenCLIP ViT-H/14; written from its description.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tgvc_export.openclip.text import TextConfig, text_tensors
from tgvc_export.openclip.transformer import Transformer, random_parameter


@dataclass(frozen=True)
class ImageConfig:
    """Sizes of an image tower; ``size``, ``patch``: of the square picture and its square patches in px."""

    width: int = 1280
    layers: int = 32
    head_width: int = 80
    size: int = 224
    patch: int = 14
    embed: int = 1024

    @property
    def tokens(self) -> int:
        """Patches and the class token."""
        return int((self.size // self.patch) ** 2 + 1)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> ImageConfig:
        """From a configuration of OpenCLIP: ``embed_dim`` and ``vision_cfg``."""
        inner = options["vision_cfg"]
        return cls(
            width=inner["width"],
            layers=inner["layers"],
            head_width=inner["head_width"],
            size=inner["image_size"],
            patch=inner["patch_size"],
            embed=options["embed_dim"],
        )


class VisionTransformer(nn.Module):
    """Pixels (N, 3, size, size) to tokens (N, L, C), class token first."""

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        width = config.width
        self.class_embedding = random_parameter(width, std=width**-0.5)
        self.positional_embedding = random_parameter(config.tokens, width, std=width**-0.5)
        self.proj = random_parameter(width, config.embed, std=width**-0.5)
        self.conv1 = nn.Conv2d(3, width, config.patch, stride=config.patch, bias=False)
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, config.layers, width // config.head_width)

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(patches.shape[0], 1, -1)
        return self.transformer(self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding))

    def embed(self, tokens: Tensor) -> Tensor:
        """Embedding (N, E), not of unit length, of what `forward` gives."""
        return torch.matmul(self.ln_post(tokens[:, 0]), self.proj)


class ImageHalf(nn.Module):
    """A CLIP model without its text transformer, of which nothing but the image tower is held."""

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.visual = VisionTransformer(config)


class ImageTower(nn.Module):
    """Preprocessed pixels (N, 3, 224, 224) to tokens (N, L, C) without a last normalisation, and embedding (N, E)."""

    def __init__(self, config: ImageConfig | None = None) -> None:
        super().__init__()
        self.config = config or ImageConfig()
        self.model = ImageHalf(self.config)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        tokens = self.model.visual(pixels)
        return tokens, self.model.visual.embed(tokens)


def leftover_tensors(config: TextConfig | None = None) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what published files hold beside the image tower though nothing uses it.

    These are parts of the text tower that was taken out of the model. A loader has to accept and drop them.
    """
    return {f"model.{name}": shape for name, shape in text_tensors(config or TextConfig()).items()}
