"""The text tower of OpenCLIP: states of all tokens of a prompt.

Parameters are named as in the published files of DynamiCrafter, below ``cond_stage_model.``. Source: Radford et al.
2021, OpenCLIP ViT-H/14; written from its description.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tgvc_export.openclip.transformer import Transformer, causal_mask, random_parameter


@dataclass(frozen=True)
class TextConfig:
    """Sizes of a text tower; ``embed``: width of the space that it shares with pictures."""

    width: int = 1024
    layers: int = 24
    heads: int = 16
    context: int = 77
    vocabulary: int = 49408
    embed: int = 1024

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> TextConfig:
        """From a configuration of OpenCLIP: ``embed_dim`` and ``text_cfg``."""
        inner = options["text_cfg"]
        return cls(
            width=inner["width"],
            layers=inner["layers"],
            heads=inner["heads"],
            context=inner["context_length"],
            vocabulary=inner["vocab_size"],
            embed=options["embed_dim"],
        )


def text_tensors(config: TextConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a text tower that lie outside its transformer."""
    return {
        "positional_embedding": (config.context, config.width),
        "text_projection": (config.width, config.embed),
        "logit_scale": (),
        "token_embedding.weight": (config.vocabulary, config.width),
        "ln_final.weight": (config.width,),
        "ln_final.bias": (config.width,),
    }


class TextHalf(nn.Module):
    """A CLIP model without its image tower. ``text_projection`` and ``logit_scale`` are held, never used."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.positional_embedding = random_parameter(config.context, config.width, std=0.01)
        self.text_projection = random_parameter(config.width, config.embed, std=config.width**-0.5)
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.transformer = Transformer(config.width, config.layers, config.heads)
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        self.ln_final = nn.LayerNorm(config.width)


class TextTower(nn.Module):
    """Tokens int64 (N, 77) to states (N, 77, D) of the last block but one, normalised; as DynamiCrafter takes them."""

    def __init__(self, config: TextConfig | None = None) -> None:
        super().__init__()
        self.config = config or TextConfig()
        self.model = TextHalf(self.config)

    def forward(self, tokens: Tensor, left_out: int = 1) -> Tensor:
        """States after all blocks but the last ``left_out``; see the class."""
        model = self.model
        x = model.token_embedding(tokens) + model.positional_embedding
        mask = causal_mask(self.config.context).to(x.device)
        return model.ln_final(model.transformer(x, mask, left_out))
