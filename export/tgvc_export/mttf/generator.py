"""From grids to pictures: the moved features of the key picture in front of a background of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from tgvc_export.mttf.config import MttfConfig
from tgvc_export.mttf.grids import enlarge_grid, look
from tgvc_export.mttf.hourglass import Down, Hourglass, Residual, Same, Up, last_conv


class KeyEncoder(nn.Module):
    """A key picture to features at all sizes down to the cells.

    On path p the picture has 1 / 2^p of the full size, and the first p halvings keep the size instead.
    """

    def __init__(self, config: MttfConfig) -> None:
        super().__init__()
        widths = config.widths()
        self.first = nn.ModuleList([last_conv(config.colours, widths[0], config.kernel) for _ in range(config.paths)])
        self.steps = nn.ModuleList([Down(a, b) for a, b in pairwise(widths)])
        self.same = nn.ModuleList([_keeping(widths[: path + 1]) for path in range(config.paths)])

    def forward(self, picture: Tensor, path: int = 0) -> list[Tensor]:
        """(N, colours, s h, s w) to the features of each step, the bottleneck (N, C, h, w) last."""
        kept = [functional.relu(self.first[path](picture))]
        for step in [*self.same[path], *self.steps[path:]]:
            kept.append(step(kept[-1]))
        return kept


class Background(nn.Module):
    """What lies behind: the small key picture moved by the background's flow, completed and enlarged."""

    def __init__(self, config: MttfConfig) -> None:
        super().__init__()
        self.config = config
        width = config.background_width
        self.hourglass = Hourglass(6, config.motion_width, config.motion_most, config.levels)
        self.first = last_conv(self.hourglass.outputs, width, config.kernel)
        self.steps = nn.ModuleList([nn.Sequential(Up(width, width), Residual(width)) for _ in range(config.halvings)])
        self.same = nn.ModuleList(
            [
                nn.ModuleList([nn.Sequential(Same(width, width), Residual(width)) for _ in range(path)])
                for path in range(config.paths)
            ]
        )
        self.last = last_conv(width, config.colours, config.kernel, zero=config.exact)

    def forward(self, small: Tensor, grid: Tensor, path: int = 0) -> Tensor:
        """(N, 3, h, w) and (N, h, w, 2) to colours (N, colours, s h, s w)."""
        moved = look(small, grid, exact=self.config.exact)
        x = self.first(self.hourglass(torch.cat([moved, small], dim=1)))
        for step in [*self.steps[: self.config.halvings - path], *self.same[path]]:
            x = step(x)
        return self.last(x)


class Generator(nn.Module):
    """Features of the key picture at all sizes, moved and filled up where they were hidden, to a frame."""

    def __init__(self, config: MttfConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths()
        self.background = Background(config)
        self.blocks = nn.Sequential(*[Residual(widths[-1]) for _ in range(config.blocks)])
        back = widths[::-1]
        self.steps = nn.ModuleList([Up(a, b) for a, b in pairwise(back)])
        self.same = nn.ModuleList([_keeping(back[config.halvings - path :]) for path in range(config.paths)])
        self.last = nn.ModuleList(
            [last_conv(config.width, config.colours + 1, config.kernel, zero=config.exact) for _ in range(config.paths)]
        )

    def forward(
        self,
        picture: Tensor,
        kept: Sequence[Tensor],
        small: Tensor,
        grids: tuple[Tensor, Tensor],
        seen: Tensor,
        path: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """A frame.

        Args:
            picture: (N, colours, s h, s w), the key picture.
            kept: as `KeyEncoder` gives them for it.
            small: (N, 3, h, w), the key picture at the size of the cells.
            grids: (N, h, w, 2) of foreground and background.
            seen: (N, 1, h, w), what of the foreground is in the key picture.
            path: which entry and exit.

        Returns:
            The frame (N, colours, s h, s w), and its matte (N, 1, s h, s w), 1 = foreground.
        """
        exact, (front, behind) = self.config.exact, grids
        x = self.blocks(look(kept[-1], front, exact=exact) * seen)
        steps = [*self.steps[: self.config.halvings - path], *self.same[path]]
        skips = list(zip(kept, self.config.factors(path), strict=True))[-2::-1]
        for step, (skip, factor) in zip(steps, skips, strict=True):
            moved = look(skip, enlarge_grid(front, factor, exact=exact), exact=exact)
            shown = _enlarge(seen, factor)
            x = shown * moved + (1 - shown) * step(x)
        out = self.last[path](x)
        factor = self.config.scale(path)
        grid, shown = enlarge_grid(front, factor, exact=exact), _enlarge(seen, factor)
        colours, matte = out[:, :-1], torch.sigmoid(out[:, -1:])
        made = self.background(small, behind, path)
        if not exact:
            foreground = shown * look(picture, grid, exact=False) + (1 - shown) * torch.sigmoid(colours)
            return matte * foreground + (1 - matte) * torch.sigmoid(made), matte
        far = enlarge_grid(behind, factor, exact=True)
        foreground = look_planes(picture, grid) + colours
        return matte * foreground + (1 - matte) * (look_planes(picture, far) + made), matte


def look_planes(planes: Tensor, grid: Tensor) -> Tensor:
    """Six planes (N, 6, h, w) at a grid (N, h, w, 2): luma at its own size, so that nothing of it is lost.

    Source: own.
    """
    luma = functional.pixel_shuffle(planes[:, :4], 2)
    luma = look(luma, enlarge_grid(grid, 2, exact=True), exact=True)
    return torch.cat([functional.pixel_unshuffle(luma, 2), look(planes[:, 4:], grid, exact=True)], dim=1)


def _enlarge(values: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return values
    return functional.interpolate(values, scale_factor=float(factor), mode="bilinear", align_corners=False)


def _keeping(widths: Sequence[int]) -> nn.ModuleList:
    """Steps from width to width that keep the size."""
    return nn.ModuleList([Same(a, b) for a, b in pairwise(widths)])
