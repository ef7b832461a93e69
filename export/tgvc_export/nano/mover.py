"""The flow-driven painter: rough motion made fine, features of key pictures moved by it, gaps and seams filled.

Source: the structure of Dynamics-Codec's decoder (sparse to dense, then features of the key picture moved by the flow);
the networks are our own, and sized for a CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tgvc_export.mttf.grids import look, pixel_grid
from tgvc_export.nano.blocks import PLANES, Residual, conv, zeroed

CELL_ROWS = 4  # rows of planes per cell: cells measure 8 px, planes have half of the picture's size
SENT = 3  # channels that tell of the trajectories: where from, and whether there is one
WHEN = 2  # numbers that tell of a frame: share of the way to the last key picture, and whether there is one
_WIDTHS = (24, 40, 48)  # channels at 1/2, 1/4 and 1/8 of the size
_MOTION = 64  # channels of the motion's own network
_MOST_CELLS = 4.0  # by which motion may be corrected


class Mover(nn.Module):
    """Frames between two key pictures, or after one, from rough motion.

    The first thing that it does is exactly what it does untrained: moves both key pictures by the rough motion and
    blends them by time.
    """

    def __init__(self) -> None:
        super().__init__()
        fine, middle, coarse = _WIDTHS
        self.see_fine = conv(PLANES, fine)
        self.see_middle = nn.Sequential(nn.LeakyReLU(0.1), conv(fine, middle, stride=2), Residual(middle))
        self.see_coarse = nn.Sequential(nn.LeakyReLU(0.1), conv(middle, coarse, stride=2), Residual(coarse))
        self.meet = conv(2 * coarse + 4 + SENT + WHEN, _MOTION)
        self.motion = nn.Sequential(Residual(_MOTION), Residual(_MOTION), Residual(_MOTION), nn.LeakyReLU(0.1))
        self.correct = zeroed(conv(_MOTION, 6))  # both displacements, and how far each key picture is to be believed
        self.start = conv(fine + PLANES + 1, fine)
        self.down = conv(fine, middle, stride=2)
        self.join = conv(middle + _MOTION, middle, size=1)
        self.middle = nn.Sequential(Residual(middle), Residual(middle))
        self.up = conv(middle, 4 * fine, size=1)
        self.fine = nn.Sequential(Residual(fine), nn.LeakyReLU(0.1))
        self.finish = zeroed(conv(fine, PLANES))

    def forward(
        self, first: Tensor, last: Tensor, to_first: Tensor, to_last: Tensor, sent: Tensor, when: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Paint N frames.

        Args:
            first: (1 or N, 6, H/2, W/2) planes of the key picture before.
            last: of the one after; the same again where there is none.
            to_first: (N, 2, h, w) cells, (x, y): where a cell lies in the first key picture, as a displacement.
            to_last: the same for the last one.
            sent: (N, 3, h, w): displacement of the trajectories in a cell to where they were in the first key picture,
                and 1 where there are any.
            when: (N, 2): share of the way to the last key picture, and 1 where there is one.

        Returns:
            Planes (N, 6, H/2, W/2), and both displacements (N, 4, h, w) as corrected.
        """
        count = to_first.shape[0]
        known = [self._see(planes, count) for planes in (first, last)]
        rough = torch.cat([to_first, to_last], dim=1)
        told = when[:, :, None, None].expand(-1, -1, *rough.shape[2:])
        moved = [
            look(k[2], pixel_grid(r, exact=True), exact=True) for k, r in zip(known, rough.chunk(2, 1), strict=True)
        ]
        thought = self.motion(self.meet(torch.cat([*moved, rough, sent, told], dim=1)))
        change, belief = self.correct(thought).split((4, 2), dim=1)
        motion = rough + _MOST_CELLS * torch.tanh(change)
        share = self._share(belief, when)
        large = functional.interpolate(motion, scale_factor=float(CELL_ROWS), mode="bilinear", align_corners=False)
        large, share = (
            large * CELL_ROWS,
            functional.interpolate(share, scale_factor=float(CELL_ROWS), mode="bilinear", align_corners=False),
        )
        pair = [
            look(torch.cat(k[:2], dim=1), pixel_grid(m, exact=True), exact=True)
            for k, m in zip(known, large.chunk(2, 1), strict=True)
        ]
        both = torch.lerp(pair[0], pair[1], share)
        apart = (pair[0][:, :4] - pair[1][:, :4]).abs().mean(dim=1, keepdim=True) * when[:, 1, None, None, None]
        planes = both[:, :PLANES]
        x = self.start(torch.cat([both, apart], dim=1))
        wide = functional.interpolate(thought, scale_factor=2.0, mode="nearest")
        y = self.middle(self.join(torch.cat([self.down(functional.leaky_relu(x, 0.1)), wide], dim=1)))
        x = self.fine(x + functional.pixel_shuffle(self.up(y), 2))
        return planes + self.finish(x), motion

    def _see(self, planes: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Planes, features at their size and at that of the cells, one of each per frame."""
        fine = self.see_fine(planes)
        coarse = self.see_coarse(self.see_middle(fine))
        return tuple(t.expand(count, -1, -1, -1) for t in (planes, fine, coarse))

    @staticmethod
    def _share(belief: Tensor, when: Tensor) -> Tensor:
        """Share of the last key picture (N, 1, h, w): that of time, moved by what is believed; 0 without one."""
        tau = when[:, 0].clamp(1e-3, 1 - 1e-3)
        odds = torch.log(tau / (1 - tau))[:, None, None, None]
        return torch.sigmoid(odds + belief[:, 1:] - belief[:, :1]) * when[:, 1, None, None, None]
