"""Features of the key picture moved along a flow: forwards, as the adapter was trained, or looked up backwards.

Flow (N, 2, h, w) is in cells of the features, x before y: what is at p goes to p + flow(p).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_EPS = 1e-7  # of a sum of weights, as published
ROUNDS = 8  # of `invert_flow`


def shrink_flow(flow: Tensor, factor: int) -> Tensor:
    """Flow in px of pictures to flow in cells of ``factor`` px, of each cell's first pixel, as published."""
    return flow[..., ::factor, ::factor] / factor


def splat(features: Tensor, flow: Tensor) -> Tensor:
    """Move features forwards: each cell adds its own to the four cells around where it goes; plain averages.

    In a graph: ``ScatterElements`` with sums, four times. What goes outside is lost; where nothing comes there is 0.

    Args:
        features: (N, C, h, w).
        flow: (N, 2, h, w).

    Returns:
        (N, C, h, w).

    Source: softmax splatting (Niklaus and Liu 2020) with plain averages, as MOFA-Video's adapter uses it; own words.
    """
    n, channels, height, width = features.shape
    kind, features, flow = features.dtype, features.float(), flow.float()  # sums of many halves would lose them
    rows, columns = _grid(features)
    x, y = columns + flow[:, 0], rows + flow[:, 1]
    left, top = x.floor(), y.floor()
    run = torch.arange(n, device=features.device)[:, None, None] * (height * width)
    counted = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
    rows_of = counted.permute(0, 2, 3, 1).reshape(-1, channels + 1)
    total = torch.zeros_like(rows_of)
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        to_x, to_y = left + right, top + down
        share = (1 - (x - to_x).abs()) * (1 - (y - to_y).abs())
        inside = (to_x >= 0) & (to_x < width) & (to_y >= 0) & (to_y < height)
        cell = to_y.clamp(0, height - 1).long() * width + to_x.clamp(0, width - 1).long() + run
        share = torch.where(inside, share, torch.zeros_like(share))
        to = cell.reshape(-1, 1).expand(rows_of.shape)
        total = total.scatter_add(0, to, rows_of * share.reshape(-1, 1))
    means = total[:, :-1] / (total[:, -1:] + _EPS)
    return means.reshape(n, height, width, channels).permute(0, 3, 1, 2).to(kind)


def invert_flow(flow: Tensor, rounds: int = ROUNDS) -> Tensor:
    """For every cell, where what lies there came from, as a displacement: found by repeated looking.

    Where the flow's change from cell to cell is below 1 each round brings it nearer by that factor; where things are
    hidden or uncovered, it is one of the answers.

    Args:
        flow: (N, 2, h, w).
        rounds: how often.

    Returns:
        (N, 2, h, w), g with g(q) = -flow(q + g(q)).
    """
    back = -flow
    for _ in range(rounds):
        back = -look(flow, back)
    return back


def look(values: Tensor, flow: Tensor) -> Tensor:
    """Values (N, C, h, w) at p + flow(p), bilinearly; beyond the border its nearest cell: ``GridSample``."""
    _, _, height, width = values.shape
    rows, columns = _grid(values)
    flow = flow.float()
    x, y = columns + flow[:, 0], rows + flow[:, 1]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    found = functional.grid_sample(values.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return found.to(values.dtype)


def _grid(like: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (h, 1) and columns (w,) as numbers."""
    _, _, height, width = like.shape
    rows = torch.arange(height, dtype=torch.float32, device=like.device)[:, None]
    return rows, torch.arange(width, dtype=torch.float32, device=like.device)
