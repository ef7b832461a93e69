"""Numbers that belong to the networks of a bundle, by its kind: fields with limits, checked when they are made."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

MAPS = 4  # channels of trajectory maps: red, green, blue, and how much of a cell is painted
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}", re.ASCII)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number and no boolean."""
    return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)


def _count(low: int, high: int, **default: int) -> Any:
    return field(metadata={"whole": True, "low": low, "high": high}, **default)  # type: ignore[call-overload]


def _number(low: float, high: float) -> Any:
    return field(metadata={"whole": False, "low": low, "high": high})


class _Checked:
    """Checks every field of a dataclass against its metadata; a field without limits is a name or a boolean."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __post_init__(self) -> None:
        for name, spec in self.__dataclass_fields__.items():
            value, limits = getattr(self, name), spec.metadata
            if spec.type == "bool":
                if not isinstance(value, bool):
                    raise ValueError(f"{name}={value!r:.40}: expected true or false")
            elif not limits:
                if not isinstance(value, str) or not _NAME.fullmatch(value):
                    raise ValueError(f"{name}={value!r:.40}: expected a name")
            elif limits["whole"]:
                low, high = limits["low"], limits["high"]
                if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                    raise ValueError(f"{name}={value!r:.40}: expected a whole number in {low}..{high}")
            elif not is_number(value) or not limits["low"] <= value <= limits["high"]:
                raise ValueError(f"{name}={value!r:.40}: expected a number in {limits['low']:g}..{limits['high']:g}")


@dataclass(frozen=True, kw_only=True)
class Constants(_Checked):
    """Of a bundle of kind ``residual``.

    ``latent_channels``: C. ``cell_px``: width and height of a latent cell, even. ``residual_std``: by which the
    denoiser's output is multiplied to be added to the base latents. ``schedule``: name, see `tgvc.diffusion.schedule`.
    ``train_steps``: timesteps of the schedule. ``steps``: denoising steps by default. ``detail``: deviation of the
    noise that sampling starts from by default, 0..1. ``window``: frames of one run of the denoiser, at most. ``maps``:
    channels of trajectory maps that the denoiser is shown after its hints, `tgvc.synthesis.trackmaps`; 0 for none.
    """

    latent_channels: int = _count(1, 256)
    cell_px: int = _count(2, 64)
    residual_std: float = _number(1e-6, 1e6)
    schedule: str
    train_steps: int = _count(2, 100_000)
    steps: int = _count(1, 1000)
    detail: float = _number(0, 1)
    window: int = _count(3, 1024)
    maps: int = _count(0, MAPS, default=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cell_px % 2:
            raise ValueError(f"cell_px={self.cell_px}: expected an even number")
        if self.maps not in (0, MAPS):
            raise ValueError(f"maps={self.maps}: expected 0 or {MAPS}")


@dataclass(frozen=True, kw_only=True)
class InterpolationConstants(_Checked):
    """Of a bundle of kind ``interpolation``: diffusion of all frames between two key pictures.

    ``latent_channels``: C. ``cell_px``: width and height of a latent cell. ``divisor``: the UNet takes h and w that are
    multiples of it, cells. ``latent_scale``: latents of the sampler = ``latent_scale`` x those of the VAE.
    ``window``: T, frames that the image tokens are made for. ``context``: D, width of text and image tokens.
    ``image_tokens``: M, tokens per frame. ``embedding``: E, numbers of the image tower's embedding. ``shifts``: W,
    numbers that the UNet is told of a step. ``heads``: H, of the keys and of the values that it is told of the context,
    all layers together; ``head_width``: of each. ``schedule, train_steps``: as for ``residual``. ``dynamic``: the clean
    estimate is rescaled, see `tgvc.diffusion.schedule`.
    Defaults of sampling: ``steps``; ``eta``, share of fresh noise; ``scale`` and ``rescale`` of the guidance without a
    classifier; ``fs``, the frame rate that the UNet is told, smaller = more motion.
    """

    latent_channels: int = _count(1, 256)
    cell_px: int = _count(2, 64)
    divisor: int = _count(1, 256)
    latent_scale: float = _number(1e-6, 1e6)
    window: int = _count(3, 1024)
    context: int = _count(1, 65536)
    image_tokens: int = _count(1, 4096)
    embedding: int = _count(1, 65536)
    shifts: int = _count(1, 1 << 20)
    heads: int = _count(2, 65536)
    head_width: int = _count(1, 4096)
    schedule: str
    train_steps: int = _count(2, 100_000)
    dynamic: bool
    steps: int = _count(1, 1000)
    eta: float = _number(0, 1)
    scale: float = _number(0, 100)
    rescale: float = _number(0, 1)
    fs: int = _count(1, 1000)


@dataclass(frozen=True, kw_only=True)
class TrackerConstants(_Checked):
    """Of a bundle of kind ``tracker``: points are followed through a clip by repeated small updates.

    ``width, height``: px of the pictures that it looks at, whatever the clip's size. ``stride``: px per cell of the
    features; ``channels`` of these; ``levels`` of their pyramid; ``radius``: cells around a point that are compared.
    ``token``: numbers per point and frame that the update is made from. ``window``: T, frames of one run; ``sliding``:
    longer clips are seen in windows that overlap by half, else all frames at once. ``iterations`` of the update.
    ``threshold``: a point is seen where its visibility is above it.
    """

    width: int = _count(16, 8192)
    height: int = _count(16, 8192)
    stride: int = _count(1, 64)
    channels: int = _count(1, 4096)
    levels: int = _count(1, 8)
    radius: int = _count(0, 16)
    token: int = _count(1, 65536)
    window: int = _count(2, 4096)
    sliding: bool
    iterations: int = _count(1, 64)
    threshold: float = _number(0, 1)


@dataclass(frozen=True, kw_only=True)
class HumanConstants(_Checked):
    """Of a bundle of kind ``human``: frames from one key picture and a few numbers each.

    ``channels``: C, a state is C gains and C offsets. ``cell_px``: px per cell of the motion. ``divisor``: width and
    height of a block of cells; the networks take whole blocks. ``planes``: pictures are six planes at half size in
    -1..1, else RGB in 0..1. ``halvings``: from a picture to its cells; ``path`` of them keep the size. ``width,
    width_most``: channels of the key picture's features at full size and, doubling with every step, at most. ``size``:
    px across of the pictures that it was trained on. ``measured``: states tell the motion that was measured between a
    key picture and a frame, and are zero for the key picture; else every picture has a state of its own.
    """

    channels: int = _count(1, 64)
    cell_px: int = _count(2, 64)
    divisor: int = _count(1, 256)
    planes: bool
    halvings: int = _count(1, 8)
    path: int = _count(0, 8)
    width: int = _count(1, 4096)
    width_most: int = _count(1, 4096)
    size: int = _count(16, 8192)
    measured: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        rows = self.cell_px // 2 if self.planes else self.cell_px
        if self.path > self.halvings or rows != 1 << (self.halvings - self.path) or (self.planes and self.cell_px % 2):
            raise ValueError(f"cell_px={self.cell_px}: expected what {self.halvings} halvings less {self.path} make")


@dataclass(frozen=True, kw_only=True)
class FlowConstants(_Checked):
    """Of a bundle of kind ``flow``: frames from key pictures and rough motion. ``cell_px``: px per cell of motion."""

    cell_px: int = _count(2, 64)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cell_px % 2:
            raise ValueError(f"cell_px={self.cell_px}: expected an even number")


@dataclass(frozen=True, kw_only=True)
class AnimationConstants(_Checked):
    """Of a bundle of kind ``animation``: diffusion of all frames after one key picture, along a dense flow.

    ``latent_channels``: C. ``cell_px``: width and height of a latent cell. ``halvings``: of the networks, so that they
    take whole blocks of 2 ** ``halvings`` cells. ``width, width_most``: channels of the finest level and, doubling with
    every halving, at most. ``depth``: residual blocks of a level. ``context``: D, of the key picture's embedding.
    ``window``: T, frames of one run, the key picture's own included. ``latent_scale``: latents of the sampler =
    ``latent_scale`` x those of the VAE. Of the sampler: ``steps``; ``sigma_min, sigma_max``, deviations of noise that
    it goes between; ``scale_first, scale_last``, guidance of the first and of the last frame, others in between; ``fps,
    motion, noise``, what the networks are told: frames per second, motion bucket, deviation of the noise that the key
    picture is given.
    """

    latent_channels: int = _count(1, 256)
    cell_px: int = _count(2, 64)
    halvings: int = _count(1, 8)
    width: int = _count(1, 65536)
    width_most: int = _count(1, 65536)
    depth: int = _count(1, 64)
    context: int = _count(1, 65536)
    window: int = _count(2, 1024)
    latent_scale: float = _number(1e-6, 1e6)
    steps: int = _count(1, 1000)
    sigma_min: float = _number(1e-6, 1e6)
    sigma_max: float = _number(1e-6, 1e6)
    scale_first: float = _number(0, 100)
    scale_last: float = _number(0, 100)
    fps: int = _count(1, 1000)
    motion: int = _count(0, 1000)
    noise: float = _number(0, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min={self.sigma_min:g}: expected less than sigma_max={self.sigma_max:g}")

    def channels(self, level: int) -> int:
        """Channels after so many halvings."""
        return min(self.width << level, self.width_most)

    @property
    def residual_levels(self) -> list[int]:
        """Halvings at which each residual of the adapter lies: one at first, one per block and halving, the middle."""
        levels = [0]
        for level in range(self.halvings + 1):
            levels += [level] * self.depth + ([level + 1] if level < self.halvings else [])
        return [*levels, self.halvings]

    @property
    def residual_channels(self) -> list[int]:
        """Channels of each residual: a halving keeps those of the level that it ends."""
        channels = [self.channels(0)]
        for level in range(self.halvings + 1):
            channels += [self.channels(level)] * (self.depth + (level < self.halvings))
        return [*channels, self.channels(self.halvings)]


AnyConstants: TypeAlias = (
    Constants | InterpolationConstants | TrackerConstants | HumanConstants | FlowConstants | AnimationConstants
)
RESIDUAL, INTERPOLATION, TRACKER, HUMAN, FLOW = "residual", "interpolation", "tracker", "human", "flow"
ANIMATION = "animation"
CONSTANTS: dict[str, type[AnyConstants]] = {
    RESIDUAL: Constants,
    INTERPOLATION: InterpolationConstants,
    TRACKER: TrackerConstants,
    HUMAN: HumanConstants,
    FLOW: FlowConstants,
    ANIMATION: AnimationConstants,
}
