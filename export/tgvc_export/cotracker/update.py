"""One iteration of CoTracker3: correlate, embed, attend, move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tgvc_export.cotracker.blocks import Mlp
from tgvc_export.cotracker.features import STRIDE
from tgvc_export.cotracker.sampling import embed_motion, sample_maps
from tgvc_export.cotracker.transformer import UpdateTransformer

MOTION_NUMBERS = 84  # two differences of two coordinates, each with 20 sines
STATE_NUMBERS = 2  # visible, confident


@dataclass(frozen=True)
class Widths:
    """Sizes of the part that iterates; the defaults are those of the published networks."""

    levels: int = 4
    radius: int = 3
    correlation_hidden: int = 384
    correlation: int = 256
    width: int = 384
    heads: int = 8
    depth: int = 3
    virtual: int = 64

    @property
    def side(self) -> int:
        """Cells along one side of a patch."""
        return 2 * self.radius + 1

    @property
    def token(self) -> int:
        """Width of the tokens: state, correlation, motion."""
        return STATE_NUMBERS + self.levels * self.correlation + MOTION_NUMBERS


class CorrelationMlp(Mlp):
    """Correlation volumes to features, with the volume given one column of the patch at a time.

    At 4096 points and 16 frames the whole volume and the samples behind it take 2.3 GB; a column takes a seventh.
    """

    def __init__(self, widths: Widths) -> None:
        super().__init__(widths.side**4, widths.correlation_hidden, widths.correlation, tangent=False)
        self.radius = widths.radius

    def columns(self) -> Sequence[Tensor]:
        """The first layer's weights (side**3, hidden) of every column."""
        return list(self.fc1.weight.t().chunk(2 * self.radius + 1))

    def correlate(self, level: Tensor, support: Tensor, coords: Tensor) -> Tensor:
        """Features (K, T, correlation) of one level of the pyramid.

        Args:
            level: (T, C, h, w), features.
            support: (K, side**2, C), features around the query points, x major.
            coords: (T, K, 2) (x, y) in cells of this level, float32.
        """
        steps = torch.arange(-self.radius, self.radius + 1, dtype=coords.dtype)
        x, y = coords[..., None, 0], coords[..., None, 1] + steps
        kind = self.fc1.weight.dtype
        level, support = level.float(), support.to(kind).transpose(1, 2)
        hidden = self.fc1.bias
        for step, weight in zip(range(-self.radius, self.radius + 1), self.columns(), strict=True):
            points = torch.stack([(x + step).expand_as(y), y], dim=-1)
            # coordinates in halves would be off by a sixteenth of a cell: sampling stays in float32
            seen = sample_maps(level, points).to(kind).permute(2, 0, 3, 1)  # (K, T, side, C)
            products = seen.flatten(1, 2) @ support
            hidden = hidden + products.unflatten(1, (-1, len(steps))).flatten(2) @ weight
        return self.fc2(functional.gelu(hidden, approximate=self.gelu))


class Update(nn.Module):
    """The layers that move the points, once per `step`; the iterations are outside.

    Args:
        widths: of all layers.
        resolution: (height, width) px that displacements are divided by, whatever the size of the pictures.
    """

    def __init__(self, widths: Widths, resolution: tuple[int, int]) -> None:
        super().__init__()
        self.updateformer = UpdateTransformer(
            widths.token, widths.width, widths.heads, widths.depth, widths.virtual, 2, STATE_NUMBERS
        )
        self.corr_mlp = CorrelationMlp(widths)
        self.widths = widths
        self.cells = resolution[1] / STRIDE, resolution[0] / STRIDE

    def make_tokens(
        self,
        levels: Sequence[Tensor],
        supports: Sequence[Tensor],
        coords: Tensor,
        visible: Tensor,
        confident: Tensor,
        time: Tensor,
    ) -> Tensor:
        """The transformer's input (K, T, token), in the type of the weights."""
        seen = [
            self.corr_mlp.correlate(level, support, coords / 2**number)
            for number, (level, support) in enumerate(zip(levels, supports, strict=True))
        ]
        kind = seen[0].dtype
        ahead = coords[:-1] - coords[1:]
        still = torch.zeros_like(coords[:1])
        moved = torch.cat([torch.cat([ahead, still]), torch.cat([still, -ahead])], dim=-1)
        motion = embed_motion(moved / moved.new_tensor(self.cells * 2))
        state = torch.stack([visible, confident], dim=-1)
        others = torch.cat([state, motion], dim=-1).transpose(0, 1)
        split = others.split([STATE_NUMBERS, MOTION_NUMBERS], dim=-1)
        tokens = torch.cat([split[0].to(kind), *seen, split[1].to(kind)], dim=-1)
        return tokens + time.to(kind)

    def step(
        self,
        levels: Sequence[Tensor],
        supports: Sequence[Tensor],
        coords: Tensor,
        visible: Tensor,
        confident: Tensor,
        time: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One iteration.

        Args:
            levels: the pyramid, each (T, C, h, w).
            supports: features around the query points, each (K, side**2, C).
            coords: (T, K, 2) (x, y) in cells of the first level, float32.
            visible: (T, K) logits, float32.
            confident: (T, K) logits, float32.
            time: (T, token), table of the window's frames.

        Returns:
            coords, visible, confident after it, float32.
        """
        tokens = self.make_tokens(levels, supports, coords, visible, confident, time)
        change = self.updateformer(tokens).float().transpose(0, 1)
        return coords + change[..., :2], visible + change[..., 2], confident + change[..., 3]
