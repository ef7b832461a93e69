"""Where pictures are looked at: grids of flows, in the published convention and in an exact one.

The published code turns positions into -1..1 as if the corners of that square were the *centres* of the outermost
pixels, and then samples as if they were their *outer edges*. So flow zero shrinks a picture towards its middle by one
part in its width, and blends its border with black. Weights trained under that convention need it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def pixel_grid(flow: Tensor, *, exact: bool) -> Tensor:
    """Grid (N, h, w, 2), (x, y), that a flow (N, 2, h, w) in px leads to."""
    height, width = flow.shape[2], flow.shape[3]
    # counted in whole numbers, which every runtime can, and told as numbers of the flow
    x = torch.arange(width, device=flow.device).to(flow.dtype)[None, None, :] + flow[:, 0]
    y = torch.arange(height, device=flow.device).to(flow.dtype)[None, :, None] + flow[:, 1]
    if exact:
        return torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)


def look(picture: Tensor, grid: Tensor, *, exact: bool) -> Tensor:
    """A picture (N, C, h, w) bilinearly at a grid (N, h', w', 2); beyond its border black, if exact its last pixel."""
    return functional.grid_sample(
        picture, grid, mode="bilinear", padding_mode="border" if exact else "zeros", align_corners=False
    )


def enlarge_grid(grid: Tensor, factor: int, *, exact: bool) -> Tensor:
    """A grid (N, h, w, 2) for a picture ``factor`` times as large.

    Exact: what is interpolated is how far the grid is from that of no flow. Published: the grid itself, whose borders
    the interpolation repeats.
    """
    if factor == 1:
        return grid
    if not exact:
        rows = functional.interpolate(
            grid.permute(0, 3, 1, 2), scale_factor=float(factor), mode="bilinear", align_corners=False
        )
        return rows.permute(0, 2, 3, 1)
    height, width = grid.shape[1], grid.shape[2]
    still = pixel_grid(torch.zeros_like(grid).permute(0, 3, 1, 2), exact=True)
    apart = functional.interpolate(
        (grid - still).permute(0, 3, 1, 2), scale_factor=float(factor), mode="bilinear", align_corners=False
    )
    x = (2 * torch.arange(width * factor, device=grid.device).to(grid.dtype) + 1) / (width * factor) - 1
    y = (2 * torch.arange(height * factor, device=grid.device).to(grid.dtype) + 1) / (height * factor) - 1
    return torch.stack([apart[:, 0] + x[None, None, :], apart[:, 1] + y[None, :, None]], dim=-1)


def shrink(picture: Tensor, scale: int, *, exact: bool) -> Tensor:
    """A picture (N, C, scale h, scale w) at the size of the cells, (N, C, h, w).

    Exact: means. Published: bilinear at points whose outermost lie on the centres of the outermost pixels.
    """
    if scale == 1:
        return picture
    if exact:
        return functional.avg_pool2d(picture, scale)
    size = (picture.shape[2] // scale, picture.shape[3] // scale)
    return functional.interpolate(picture, size, mode="bilinear", align_corners=True)
