"""Widths and conventions of MTTF's networks: the published ones, and those of the bundle ``human-nano``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MttfConfig:
    """Everything that decides the shape of the networks.

    ``feature_size``: cells across of the square pictures that they are trained on. ``channels``: C, of the features
    that gains and offsets act on; a state is 2C numbers, and there are 2C candidate flows: ``foreground`` of one mask,
    the others of the background's. ``levels``: halvings in every hourglass. ``predictor_width, predictor_most``:
    channels of the predictor's hourglass at its first and at its deepest level; ``motion_width, motion_most`` likewise
    of the three others. ``head_width``: channels in the heads. ``measured``: states tell motion that was measured
    between a key picture and a frame, by ``head_width`` regions, and are zero without any; else each picture has one.
    ``width, width_most``: of the generator at full size and at its bottleneck. ``halvings``: from the picture to the
    cells. ``paths``: sizes of pictures, each half of the one before, that can be entered and left; on path p the p
    outermost halvings and doublings keep the size. ``blocks``: residual ones at the bottleneck. ``background_width``:
    of what is made of the background. ``kernel``: side of the last convolution of everything. ``planes``: pictures are
    six planes at half size in -1..1, instead of RGB in 0..1. ``exact``: grids whose zero flow changes nothing, pictures
    are averaged down, colours are added to the moved key picture; else all three as published.
    """

    feature_size: int = 64
    channels: int = 20
    foreground: int = 35
    levels: int = 5
    predictor_width: int = 32
    predictor_most: int = 1024
    motion_width: int = 64
    motion_most: int = 1024
    head_width: int = 20
    measured: bool = False
    width: int = 64
    width_most: int = 512
    halvings: int = 3
    paths: int = 3
    blocks: int = 6
    background_width: int = 64
    kernel: int = 7
    planes: bool = False
    exact: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.foreground < 2 * self.channels:
            raise ValueError(f"foreground={self.foreground}: expected some of the {2 * self.channels} candidates")
        if not 1 <= self.halvings <= 3:  # the frame network takes the features of up to four sizes
            raise ValueError(f"halvings={self.halvings}: expected 1..3")
        if not 1 <= self.paths <= self.halvings:
            raise ValueError(f"paths={self.paths}: expected 1..{self.halvings}")
        if self.planes and (self.paths != 1 or not self.exact):
            raise ValueError("planes: expected one path and exact grids beside them")

    @property
    def candidates(self) -> int:
        """Flows that are weighed against each other."""
        return 2 * self.channels

    @property
    def colours(self) -> int:
        """Channels of a picture."""
        return 6 if self.planes else 3

    def scale(self, path: int = 0) -> int:
        """Rows of a picture's tensor per row of cells, on one of the paths."""
        return 1 << (self.halvings - path)

    def factors(self, path: int = 0) -> list[int]:
        """Rows of the features of each step, from the picture to the bottleneck, per row of cells."""
        return [1 << min(self.halvings - path, self.halvings - n) for n in range(self.halvings + 1)]

    def widths(self) -> list[int]:
        """Channels of the generator from full size to the bottleneck."""
        return [min(self.width << n, self.width_most) for n in range(self.halvings + 1)]


FACES = MttfConfig()  # VoxCeleb: 512, 256 or 128 px
BODIES = MttfConfig(feature_size=96)  # TED: 768, 384 or 192 px
NANO = MttfConfig(
    channels=10,
    foreground=16,
    levels=4,
    predictor_width=12,
    predictor_most=64,
    motion_width=12,
    motion_most=64,
    head_width=32,
    measured=True,
    width=16,
    width_most=32,
    halvings=1,
    paths=1,
    blocks=2,
    background_width=8,
    kernel=3,
    planes=True,
    exact=True,
)
