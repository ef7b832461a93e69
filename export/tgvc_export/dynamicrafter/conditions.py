"""What the video network is told beside its latents, computed apart from it: once per schedule, and once per segment.

Source: the structure of DynamiCrafter (Xing et al. 2023), written from its description; computing these parts ahead:
own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from tgvc_export.dynamicrafter.attention import Asked, Attention, split_heads


class TimeNetwork(nn.Module):
    """Time step and frame rate to what every residual block adds to its features.

    Args:
        time: features of the time step.
        rate: features of the frame rate, which are added; None for a network that is not told it.
        layers: of the residual blocks, in the order of use.
    """

    float32_inputs = ("t", "fs")  # their sines are taken in float32

    def __init__(self, time: nn.Module, rate: nn.Module | None, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.time, self.rate, self.layers = time, rate, nn.ModuleList(layers)

    def forward(self, t: Tensor, fs: Tensor) -> Tensor:
        """Whole numbers (S,), one per step; gives shifts (S, W), those of all blocks side by side."""
        features = self.time(t)
        if self.rate is not None:
            features = features + self.rate(fs)
        return torch.cat([layer(features) for layer in self.layers], dim=1)


class ContextNetwork(nn.Module):
    """Text and picture tokens to the keys and values of all layers that ask them.

    Heads of all layers lie side by side, each as attention wants it: those of a layer's keys, those of its values, then
    the next layer's. What asks them only has to cut.

    Args:
        layers: in the order of use.
    """

    def __init__(self, layers: Sequence[Attention]) -> None:
        super().__init__()
        self.head_width = layers[0].head_width
        self.text = nn.ModuleList(part for layer in layers for part in (layer.to_k, layer.to_v))
        self.image = nn.ModuleList(part for layer in layers for part in (layer.to_k_ip, layer.to_v_ip))

    def forward(self, text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Prompts (B, 77, D), tokens of every frame (B, T, M, D); gives (B, H, 77, d) and (B, T, H, M, d)."""
        texts = torch.cat([layer(text) for layer in self.text], dim=-1)
        images = torch.cat([layer(image) for layer in self.image], dim=-1)
        return split_heads(texts, self.head_width), split_heads(images, self.head_width)


def deal_shifts(shifts: Tensor, frames: int, widths: Sequence[int]) -> Iterator[Tensor]:
    """Shifts (B, W) as blocks of these widths want them, one after the other: (B * T, width)."""
    batch, total = shifts.shape
    yield from shifts.unsqueeze(1).expand(batch, frames, total).reshape(batch * frames, total).split(widths, dim=1)


def deal_context(text_kv: Tensor, image_kv: Tensor, heads: Sequence[int]) -> Iterator[Asked]:
    """What a `ContextNetwork` gives, cut for layers of so many heads each, one after the other."""
    batch, frames = image_kv.shape[:2]
    counts = [count for count in heads for _ in range(2)]
    texts, images = text_kv.split(counts, dim=1), image_kv.flatten(0, 1).split(counts, dim=1)

    def show(part: Tensor) -> Tensor:
        """(B, heads, 77, d) to (B * T, heads, 77, d): every frame is shown the same text."""
        return part.unsqueeze(1).expand(batch, frames, *part.shape[1:]).flatten(0, 1)

    for n in range(0, len(counts), 2):
        yield Asked(show(texts[n]), show(texts[n + 1]), images[n], images[n + 1])
