"""The flow-driven painter: rough motion made fine, key pictures and features moved by it, over the weight-free picture.

Source: the structure of Dynamics-Codec's decoder (sparse to dense, then features of the key picture moved by the flow);
the networks are our own, and sized for a CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tgvc_export.mttf.grids import look, pixel_grid
from tgvc_export.nano.blocks import PLANES, Residual, conv, zeroed

CELL_ROWS = 4  # rows of planes per cell: cells measure 8 px, planes have half of the picture's size
SENT = 3  # channels that tell of the trajectories: where from, and whether there is one
WHEN = 2  # numbers that tell of a frame: share of the way to the last key picture, and whether there is one
_LUMA = 4  # planes of luma
_WIDTHS = (24, 40, 48)  # channels at 1/2, 1/4 and 1/8 of the size
_MOTION = 64  # channels of the motion's own network
_OCTAVES = 2  # of luma that may be made stronger
_FREE = 3  # channels that are painted freely: luma at half size, and chroma
_MOST_CELLS = 1.0  # by which motion may be corrected


class Painted(NamedTuple):
    """Of N frames: planes ``pictures, from_first, from_last`` (N, 6, H/2, W/2) and ``motion`` (N, 4, h, w).

    ``from_first, from_last``: the key pictures, moved by the corrected ``motion`` and nothing else.
    """

    pictures: Tensor
    from_first: Tensor
    from_last: Tensor
    motion: Tensor


class Mover(nn.Module):
    """Frames between two key pictures, or after one, from rough motion and the weight-free picture.

    Everything is added to the weight-free picture, and untrained nothing is: shares of both key pictures as they are
    after moving them by the corrected motion, shares of its own two finest octaves, and what the network paints itself.
    That has half the picture's size: painting its finest octave freely, a network repeats patterns.
    """

    def __init__(self) -> None:
        super().__init__()
        fine, middle, coarse = _WIDTHS
        self.see_fine = conv(PLANES, fine)
        self.see_middle = nn.Sequential(nn.LeakyReLU(0.1), conv(fine, middle, stride=2), Residual(middle))
        self.see_coarse = nn.Sequential(nn.LeakyReLU(0.1), conv(middle, coarse, stride=2), Residual(coarse))
        self.meet = conv(2 * coarse + 4 + SENT + WHEN, _MOTION)
        self.motion = nn.Sequential(Residual(_MOTION), Residual(_MOTION), Residual(_MOTION), nn.LeakyReLU(0.1))
        self.correct = zeroed(conv(_MOTION, 4))
        self.start = conv(2 * (PLANES + fine) + 1, fine)
        self.down = conv(fine, middle, stride=2)
        self.join = conv(middle + _MOTION, middle, size=1)
        self.middle = nn.Sequential(Residual(middle), Residual(middle))
        self.up = conv(middle, 4 * fine, size=1)
        self.fine = nn.Sequential(Residual(fine), nn.LeakyReLU(0.1))
        self.finish = zeroed(conv(fine, _FREE + 2 + _OCTAVES))  # what is added, and the shares of what there is

    def forward(
        self, first: Tensor, last: Tensor, warp: Tensor, to_first: Tensor, to_last: Tensor, sent: Tensor, when: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Paint N frames.

        Args:
            first: (1 or N, 6, H/2, W/2) planes of the key picture before.
            last: of the one after; the same again where there is none.
            warp: (N, 6, H/2, W/2) planes of the weight-free pictures.
            to_first: (N, 2, h, w) cells, (x, y): where a cell lies in the first key picture, as a displacement.
            to_last: the same for the last one.
            sent: (N, 3, h, w): displacement of the trajectories in a cell to where they were in the first key picture,
                and 1 where there are any.
            when: (N, 2): share of the way to the last key picture, and 1 where there is one.

        Returns:
            Planes (N, 6, H/2, W/2), and both displacements (N, 4, h, w) as corrected.
        """
        painted = self.paint(first, last, warp, to_first, to_last, sent, when)
        return painted.pictures, painted.motion

    def paint(
        self, first: Tensor, last: Tensor, warp: Tensor, to_first: Tensor, to_last: Tensor, sent: Tensor, when: Tensor
    ) -> Painted:
        """What `forward` gives, and what training looks at besides."""
        seen = [self.see_fine(planes) for planes in (first, last)]
        rough = torch.cat([to_first, to_last], dim=1)
        told = when[:, :, None, None].expand(-1, -1, *rough.shape[2:])
        distant = [
            _move(self.see_coarse(self.see_middle(f)), m) for f, m in zip(seen, rough.chunk(2, dim=1), strict=True)
        ]
        thought = self.motion(self.meet(torch.cat([*distant, rough, sent, told], dim=1)))
        motion = rough + _MOST_CELLS * torch.tanh(self.correct(thought))
        ways = motion.chunk(2, dim=1)
        moved = [_move_planes(planes, m) for planes, m in zip((first, last), ways, strict=True)]
        features = [_move(f, m) for f, m in zip(seen, ways, strict=True)]
        apart = (moved[0] - moved[1])[:, :_LUMA].abs().mean(dim=1, keepdim=True)
        news = [planes - warp for planes in moved]
        x = self.see_fine(warp) + self.start(torch.cat([*features, *news, apart], dim=1))
        wide = functional.interpolate(thought, scale_factor=2.0, mode="nearest")
        y = self.middle(self.join(torch.cat([self.down(functional.leaky_relu(x, 0.1)), wide], dim=1)))
        x = self.fine(x + functional.pixel_shuffle(self.up(y), 2))
        added, shares = self.finish(x).split((_FREE, 2 + _OCTAVES), dim=1)
        early, late, *stronger = shares.split(1, dim=1)
        level, tint = added.split((1, _FREE - 1), dim=1)
        painted = [_phases(functional.interpolate(level, scale_factor=2.0, mode="bilinear", align_corners=False)), tint]
        luma, chroma = (warp + early * news[0] + late * news[1] + torch.cat(painted, dim=1)).split((_LUMA, 2), dim=1)
        for share, octave in zip(stronger, _split_octaves(warp), strict=True):
            luma = luma + share * octave
        return Painted(torch.cat([luma, chroma], dim=1), moved[0], moved[1], motion)


def _move(values: Tensor, motion: Tensor) -> Tensor:
    """Values (1 or N, C, s h, s w) bilinearly at displacements (N, 2, h, w) in cells."""
    scale = values.shape[3] // motion.shape[3]
    if scale > 1:
        motion = scale * functional.interpolate(motion, scale_factor=float(scale), mode="bilinear", align_corners=False)
    return look(values.expand(motion.shape[0], -1, -1, -1), pixel_grid(motion, exact=True), exact=True)


def _move_planes(planes: Tensor, motion: Tensor) -> Tensor:
    """Planes of a picture (1 or N, 6, H/2, W/2) at displacements (N, 2, h, w) in cells: luma cubically, px by px.

    The four phases of luma are put together first: looked at one by one, they would lose what is finer than 4 px.
    """
    luma = functional.pixel_shuffle(planes[:, :_LUMA], 2)
    scale = 2 * CELL_ROWS
    way = scale * functional.interpolate(motion, scale_factor=float(scale), mode="bilinear", align_corners=False)
    fine = functional.grid_sample(
        luma.expand(motion.shape[0], -1, -1, -1),
        pixel_grid(way, exact=True),
        mode="bicubic",
        padding_mode="border",
        align_corners=False,
    )
    return torch.cat([_phases(fine), _move(planes[:, _LUMA:], motion)], dim=1)


def _split_octaves(planes: Tensor) -> list[Tensor]:
    """The finest `_OCTAVES` octaves of the luma of planes (N, 6, H/2, W/2), each (N, 4, H/2, W/2)."""
    luma, found = functional.pixel_shuffle(planes[:, :_LUMA], 2), []
    for octave in range(_OCTAVES):
        side = 3 + 2 * octave
        smooth = luma
        for _ in range(2):
            smooth = functional.avg_pool2d(smooth, side, 1, side // 2, count_include_pad=False)
        found.append(_phases(luma - smooth))
        luma = smooth
    return found


def _phases(luma: Tensor) -> Tensor:
    """Luma (N, 1, H, W) as planes (N, 4, H/2, W/2)."""
    return torch.cat([luma[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)], dim=1)
