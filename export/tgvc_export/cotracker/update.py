"""One iteration of CoTracker3: correlate, embed, attend, move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from tgvc_export.cotracker.sampling import embed_motion

MOTION_NUMBERS = 84  # two differences of two coordinates, each with 20 sines
STATE_NUMBERS = 2  # visible, confident
State: TypeAlias = tuple[Tensor, Tensor, Tensor]


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


class CorrelationMlp(nn.Module):
    """Correlation volumes to features; see `correlate_columns`."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self.fc1 = nn.Linear(widths.side**4, widths.correlation_hidden)
        self.fc2 = nn.Linear(widths.correlation_hidden, widths.correlation)
        self.side = widths.side

    def forward(self, level: Tensor, support: Tensor, coords: Tensor) -> Tensor:
        """Features (K, T, correlation) of one level of the pyramid, of what `correlate_columns` takes."""
        columns = self.fc1.weight.t().chunk(self.side)
        return self.fc2(functional.gelu(correlate_columns(level, support, coords, columns, self.fc1.bias)))


class CutCorrelation(nn.Module):
    """A `CorrelationMlp` for export: its first layer is cut once, not by every run of the graph."""

    def __init__(self, whole: CorrelationMlp) -> None:
        super().__init__()
        columns = whole.fc1.weight.detach().t().chunk(whole.side)
        self.columns = nn.ParameterList(nn.Parameter(column.contiguous()) for column in columns)
        self.bias, self.fc2 = whole.fc1.bias, whole.fc2

    def forward(self, level: Tensor, support: Tensor, coords: Tensor) -> Tensor:
        """See `CorrelationMlp.forward`."""
        return self.fc2(functional.gelu(correlate_columns(level, support, coords, list(self.columns), self.bias)))


def correlate_columns(
    level: Tensor, support: Tensor, coords: Tensor, columns: Sequence[Tensor], bias: Tensor
) -> Tensor:
    """The first layer of the correlation's perceptron, one column of the patch at a time.

    The volume compares each of side**2 places around a point with each of those around its query, x major on both
    sides. At 4096 points and 16 frames the whole of it and the samples behind it take 2.3 GB; a column takes a seventh.
    All places of a patch lie alike between their cells. So the cells themselves are compared, side + 1 columns of
    side + 1 of them, and the products are interpolated: a quarter of the reads, of 49 numbers and not of 128.

    Args:
        level: (T, C, h, w), features.
        support: (K, side**2, C), features around the query points.
        coords: (T, K, 2) (x, y) in cells of this level, float32: halves would round them to sixteenths of a cell.
        columns: weights (side**3, hidden) of every column, from left to right.
        bias: (hidden,).

    Returns:
        (K, T, hidden), in the type of the weights.
    """
    kind, side = bias.dtype, len(columns)
    frames, channels, height, width = level.shape
    cells = level.to(kind).permute(0, 2, 3, 1).reshape(-1, channels)
    wanted = support.to(kind).transpose(1, 2)
    place = coords.transpose(0, 1)
    corner = place.floor()
    right, down = (place - corner).to(kind)[..., None, None].unbind(2)
    steps = torch.arange(side + 1, dtype=corner.dtype) - side // 2
    x = (corner[..., :1] + steps).clamp(0, width - 1).long()  # the border repeats outside
    y = (corner[..., 1:] + steps).clamp(0, height - 1).long()
    rows = (y + torch.arange(frames)[:, None] * height) * width
    hidden, left = bias, None
    for number in range(side + 1):
        seen = functional.embedding((rows + x[..., number, None]).flatten(1), cells)
        products = (seen @ wanted).unflatten(1, (-1, side + 1))
        above = products[:, :, :-1]
        column = above + (products[:, :, 1:] - above) * down
        if left is not None:
            hidden = hidden + (left + (column - left) * right).flatten(2) @ columns[number - 1]
        left = column
    return hidden


def make_tokens(
    correlation: nn.Module,
    cells: tuple[float, float],
    levels: Sequence[Tensor],
    supports: Sequence[Tensor],
    state: State,
    time: Tensor,
) -> Tensor:
    """The transformer's input (K, T, token) in the type of its weights; arguments as for `update_state`."""
    coords, visible, confident = state
    seen = [
        correlation(level, support, coords / 2**number)
        for number, (level, support) in enumerate(zip(levels, supports, strict=True))
    ]
    ahead, still = coords[:-1] - coords[1:], torch.zeros_like(coords[:1])
    moved = torch.cat([torch.cat([ahead, still]), torch.cat([still, -ahead])], dim=-1)
    motion = embed_motion(moved / moved.new_tensor(cells * 2))
    logits = torch.stack([visible, confident], dim=-1)
    kind = seen[0].dtype
    parts = [logits.transpose(0, 1).to(kind), *seen, motion.transpose(0, 1).to(kind)]
    return torch.cat(parts, dim=-1) + time.to(kind)


def update_state(
    transformer: nn.Module,
    correlation: nn.Module,
    cells: tuple[float, float],
    levels: Sequence[Tensor],
    supports: Sequence[Tensor],
    state: State,
    time: Tensor,
) -> State:
    """One iteration.

    Args:
        transformer: an `UpdateTransformer`.
        correlation: a `CorrelationMlp` or a `CutCorrelation`.
        cells: (width, height) in cells that displacements are divided by, whatever the size of the pictures.
        levels: the pyramid, each (T, C, h, w).
        supports: features around the query points, each (K, side**2, C).
        state: positions (T, K, 2) in cells of the first level, logits of visible and of confident (T, K); float32.
        time: (T, token), table of the window's frames.

    Returns:
        The state after it, float32.
    """
    tokens = make_tokens(correlation, cells, levels, supports, state, time)
    change = transformer(tokens).float().transpose(0, 1)
    return state[0] + change[..., :2], state[1] + change[..., 2], state[2] + change[..., 3]
