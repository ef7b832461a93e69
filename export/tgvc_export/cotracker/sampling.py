"""Values of feature maps between their cells, and tables of sines."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def sample_maps(maps: Tensor, points: Tensor, padding: str = "border") -> Tensor:
    """Bilinear values of maps at points.

    Args:
        maps: (N, C, h, w), float32.
        points: (N, P, Q, 2) (x, y) in cells, cell centres at whole numbers, float32.
        padding: ``border`` repeats the outermost cells, ``zeros`` has nothing beyond them.

    Returns:
        (N, C, P, Q).
    """
    height, width = maps.shape[-2:]
    scale = torch.tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)], dtype=points.dtype)
    return functional.grid_sample(maps, points * scale - 1, align_corners=True, padding_mode=padding)


def patch_offsets(radius: int) -> Tensor:
    """Offsets (2r+1, 2r+1, 2) of a patch; the first axis moves x, the second y."""
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    return torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1)


def sample_support(level: Tensor, frames: Tensor, points: Tensor, radius: int) -> Tensor:
    """Patches around points, each from its own frame.

    Args:
        level: (T, C, h, w), features.
        frames: int64 (K,).
        points: (K, 2) (x, y) in cells of this level.
        radius: of the patches in cells.

    Returns:
        (K, (2r+1)**2, C), x major.
    """
    where = points[:, None] + patch_offsets(radius).reshape(-1, 2)
    return sample_maps(level[frames], where[:, None])[:, :, 0].transpose(1, 2)


def sine_table(length: int, width: int) -> Tensor:
    """Table (length, width) of positions 0..length-1: sines of falling rates, then cosines; float32 made of float64."""
    rates = 10000.0 ** -(np.arange(width // 2) / (width / 2))
    angles = np.arange(length)[:, None] * rates
    return torch.from_numpy(np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32))


def stretch_table(table: Tensor, length: int) -> Tensor:
    """A table (M, C) interpolated to (length, C); as it is where the lengths agree."""
    if len(table) == length:
        return table
    stretched = functional.interpolate(table.t()[None], size=length, mode="linear", align_corners=False)
    return stretched[0].t()


def embed_motion(motion: Tensor, degrees: int = 10) -> Tensor:
    """Numbers (..., D) with their sines at 2**0 to 2**(degrees-1) times, and the same a quarter of a turn later.

    Returns:
        (..., D * (1 + 2 * degrees)): the numbers, then sines of all degrees, degree by degree, then the later ones.
    """
    rates = 2.0 ** torch.arange(degrees, dtype=motion.dtype)
    angles = (motion[..., None, :] * rates[:, None]).flatten(-2)
    return torch.cat([motion, angles.sin(), (angles + torch.pi / 2).sin()], dim=-1)
