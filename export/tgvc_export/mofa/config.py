"""Sizes of the networks, by the names of the ``config.json`` that the published folders hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

_GROUPS = 32
_WITH_ATTENTION, _PLAIN = "CrossAttn{}BlockSpatioTemporal", "{}BlockSpatioTemporal"
# Not sizes of a network: what the library calls it, and pictures that it was trained on
_UNREAD = {"sample_size"}


class _Options:
    """A dataclass that is made of a published configuration."""

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """From the values of a ``config.json``; names that begin with an underscore are the library's own.

        Raises:
            ValueError: an option is not known, or is that of another network.
        """
        known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        given = {name: value for name, value in options.items() if not name.startswith("_") and name not in _UNREAD}
        if unknown := set(given) - known:
            raise ValueError(f"unknown options {', '.join(sorted(unknown))}")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


@dataclass(frozen=True)
class VideoConfig(_Options):
    """Of the video network, ``unet/config.json``; the defaults are those of img2vid-xt and img2vid-xt-1-1.

    ``block_out_channels``: channels of the levels, finest first. ``down_block_types``: which levels have transformers;
    ``up_block_types`` say the same, coarsest first. ``layers_per_block``: residual blocks of a level on the way down,
    one more on the way up. ``cross_attention_dim``: D, of the key picture's embedding. ``addition_time_embed_dim``:
    features of each of three numbers. ``num_frames``: T that it was trained with, says nothing of its layers.
    """

    in_channels: int = 8
    out_channels: int = 4
    block_out_channels: Sequence[int] = (320, 640, 1280, 1280)
    down_block_types: Sequence[str] = (*[_WITH_ATTENTION.format("Down")] * 3, _PLAIN.format("Down"))
    up_block_types: Sequence[str] = (_PLAIN.format("Up"), *[_WITH_ATTENTION.format("Up")] * 3)
    layers_per_block: int = 2
    cross_attention_dim: int = 1024
    transformer_layers_per_block: int = 1
    num_attention_heads: Sequence[int] = (5, 10, 20, 20)
    addition_time_embed_dim: int = 256
    projection_class_embeddings_input_dim: int = 768
    num_frames: int = 25

    def __post_init__(self) -> None:
        levels = len(self.block_out_channels)
        for name in ("down_block_types", "up_block_types", "num_attention_heads"):
            if len(getattr(self, name)) != levels:
                raise ValueError(f"{name} of {len(getattr(self, name))} levels, block_out_channels of {levels}")
        pairs = zip(self.down_block_types, reversed(self.up_block_types), strict=True)
        for down, up in pairs:
            if (down, up) not in {
                tuple(kind.format(way) for way in ("Down", "Up")) for kind in (_WITH_ATTENTION, _PLAIN)
            }:
                raise ValueError(f"levels {down}, {up}: expected both with or both without CrossAttn")
        for width, heads in zip(self.block_out_channels, self.num_attention_heads, strict=True):
            if width % _GROUPS or width % heads:
                raise ValueError(f"{width} channels: expected a multiple of {_GROUPS} and of {heads} heads")
        if self.projection_class_embeddings_input_dim != 3 * self.addition_time_embed_dim:
            raise ValueError(
                f"projection_class_embeddings_input_dim={self.projection_class_embeddings_input_dim}: expected three "
                f"times addition_time_embed_dim={self.addition_time_embed_dim}"
            )

    @property
    def embedded(self) -> int:
        """E, features of time."""
        return 4 * self.block_out_channels[0]

    def heads(self, level: int) -> int:
        """Heads of the transformers of a level, finest first; 0 where there are none."""
        return self.num_attention_heads[level] if self.down_block_types[level].startswith("Cross") else 0

    @property
    def left_widths(self) -> list[int]:
        """Channels of what the way down leaves, in order: after the first convolution, every block, every halving."""
        widths = [self.block_out_channels[0]]
        for level, width in enumerate(self.block_out_channels):
            last = level + 1 == len(self.block_out_channels)
            widths += [width] * (self.layers_per_block + (not last))
        return widths


@dataclass(frozen=True)
class AdapterConfig(VideoConfig):
    """Of the adapter, ``controlnet/config.json``: its copy of the video network's way down, and its own encoder.

    The published class hands none of its options on to the class that builds the copy, so that the copy has that
    class's defaults: 10 heads on the third level, where the video network has 20. Weights have one shape either way.
    ``heads_of_copy`` says it here; ``num_attention_heads`` of the file is not looked at.
    """

    conditioning_channels: int = 3
    conditioning_embedding_out_channels: Sequence[int] = (16, 32, 96, 256)
    heads_of_copy: Sequence[int] = (5, 10, 10, 20)

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_attention_heads", self.heads_of_copy)
        super().__post_init__()
        if len(self.block_out_channels) < 2 or self.block_out_channels[-1] != self.block_out_channels[-2]:
            raise ValueError(
                f"block_out_channels={tuple(self.block_out_channels)}: features of the key picture are added after the "
                "last two levels, which need the same width"
            )


@dataclass(frozen=True)
class TemporalVaeConfig(_Options):
    """Of the autoencoder, ``vae/config.json``; the defaults are the published ones."""

    in_channels: int = 3
    out_channels: int = 3
    block_out_channels: Sequence[int] = (128, 256, 512, 512)
    down_block_types: Sequence[str] = ("DownEncoderBlock2D",) * 4
    layers_per_block: int = 2
    latent_channels: int = 4
    scaling_factor: float = 0.18215
    force_upcast: bool = True

    def __post_init__(self) -> None:
        if self.layers_per_block < 2:
            raise ValueError(f"layers_per_block={self.layers_per_block}: expected 2 or more")
        if len(self.down_block_types) != len(self.block_out_channels) or set(self.down_block_types) != {
            "DownEncoderBlock2D"
        }:
            raise ValueError(f"down_block_types={tuple(self.down_block_types)}: expected DownEncoderBlock2D per level")
        if any(width % _GROUPS for width in self.block_out_channels):
            raise ValueError(f"block_out_channels={tuple(self.block_out_channels)}: expected multiples of {_GROUPS}")

    @property
    def cell_px(self) -> int:
        """Width and height of a latent cell in px."""
        return 1 << (len(self.block_out_channels) - 1)
