"""From two states to where every cell looks: candidate flows, two masks over them, what is hidden."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tgvc_export.mttf.config import MttfConfig
from tgvc_export.mttf.grids import look, pixel_grid
from tgvc_export.mttf.hourglass import Hourglass, last_conv

_EIGHTHS = 8


class MotionNetwork(nn.Module):
    """Candidate flows from the source's and the driving map, and how they are mixed for foreground and background."""

    def __init__(self, config: MttfConfig) -> None:
        super().__init__()
        self.config = config
        k, sizes = config.candidates, (config.motion_width, config.motion_most, config.levels)
        self.flow = Hourglass(k, *sizes)
        self.flows = last_conv(self.flow.outputs, 2 * k, config.kernel, zero=config.exact)
        self.mask = Hourglass(4 * k, *sizes)
        self.masks = last_conv(self.mask.outputs, k, config.kernel)
        self.hidden = last_conv(self.mask.outputs, 1, config.kernel)

    def forward(self, features: Tensor, source: Tensor, driving: Tensor, small: Tensor) -> tuple[Tensor, ...]:
        """Where the cells of a frame look in the key picture.

        Args:
            features: (N, C, h, w) of the key picture.
            source: (N, 2C), state of the key picture.
            driving: (N, 2C), state of the frame.
            small: (N, 3, h, w), the key picture at the size of the cells.

        Returns:
            Grids of foreground and background (N, h, w, 2), what of the foreground can be seen in the key picture
            (N, 1, h, w) 0..1, and the flows of both (N, 2, h, w), in cells.
        """
        exact, k = self.config.exact, self.config.candidates
        n, _, h, w = features.shape
        maps = [self._modulate(features, state) for state in (driving, source)]
        # places are told in more digits than features, whatever training computes those in
        flows = self.flows(self.flow(torch.cat([maps[1], maps[0]], dim=1))).float()
        flows = flows.reshape(n * k, 2, h, w)
        if exact:
            # lengths in eighths of a picture's sides, as places are, so that states mean the same at all sizes
            flows = torch.cat([flows[:, :1] * (w / _EIGHTHS), flows[:, 1:] * (h / _EIGHTHS)], dim=1)
        grids = pixel_grid(flows, exact=exact)
        many = small[:, None].expand(n, k, 3, h, w).reshape(n * k, 3, h, w)
        moved = look(many, grids, exact=exact).reshape(n, k, 3, h, w)
        heat = torch.cat(maps, dim=1)[:, :, None]
        seen = self.mask(torch.cat([heat, moved], dim=2).reshape(n, 4 * k, h, w))
        logits, front = self.masks(seen).float(), self.config.foreground
        parts = ((logits[:, :front], 0, front), (logits[:, front:], front, k))
        mixed = []
        flow = flows.reshape(n, k, 2, h, w)
        for part, first, end in parts:
            shares = torch.softmax(part, dim=1)[:, :, None]
            mixed.append((shares * flow[:, first:end]).sum(dim=1))
        # the shares of one mask add up to one, so mixing flows and then making a grid is mixing grids
        foreground, background = (pixel_grid(m, exact=exact) for m in mixed)
        return foreground, background, torch.sigmoid(self.hidden(seen)), mixed[0], mixed[1]

    def _modulate(self, features: Tensor, state: Tensor) -> Tensor:
        gains, offsets = state[:, :, None, None].chunk(2, dim=1)
        return features * (1 + gains if self.config.measured else gains) + offsets
