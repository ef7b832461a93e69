"""What the point tracker does to pictures and features between its networks: sizes, patches, tables. NumPy only.

OpenCV's own sampling rounds positions to 1/32 px, which moves tracks by more than the networks' rounding does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tgvc.types import FloatArray, IntArray

_POINTS_AT_ONCE = 512  # patches cut at once: 13 MB for each of the four neighbours


def resize_pictures(pictures: npt.NDArray[np.uint8], width: int, height: int) -> FloatArray:
    """Bilinear pictures of another size whose corner pixels stay corner pixels; no filter against aliases.

    Args:
        pictures: uint8 (N, H, W, 3).
        width: px.
        height: px.

    Returns:
        float32 (N, height, width, 3), 0..255. Source: CoTracker3's predictor.
    """
    values = np.asarray(pictures, np.float32)
    for axis, size in ((1, height), (2, width)):
        place = np.linspace(0, values.shape[axis] - 1, size)
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, values.shape[axis] - 1)
        share = (place - low).astype(np.float32).reshape([-1 if n == axis else 1 for n in range(4)])
        values = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
    return values


def make_pyramid(features: FloatArray, levels: int) -> list[FloatArray]:
    """Features (N, C, h, w) and their means over 2 x 2 cells, level by level; odd borders are dropped."""
    pyramid = [features]
    for _ in range(levels - 1):
        finer = pyramid[-1]
        height, width = (length // 2 for length in finer.shape[2:])
        blocks = finer[:, :, : 2 * height, : 2 * width].reshape(*finer.shape[:2], height, 2, width, 2)
        pyramid.append(blocks.mean(axis=(3, 5), dtype=np.float32))
    return pyramid


def cut_patches(level: FloatArray, frames: IntArray, points: FloatArray, radius: int) -> FloatArray:
    """Features around points, each from its own frame; the border repeats outside.

    Args:
        level: float32 (T, C, h, w).
        frames: int64 (K,), 0..T-1.
        points: float32 (K, 2) (x, y) in cells, cell centres at whole numbers.
        radius: of the patches in cells.

    Returns:
        float32 (K, (2 radius + 1)**2, C), x major. Source: CoTracker3.
    """
    steps = np.arange(-radius, radius + 1, dtype=np.float32)
    offsets = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    patches = np.empty((len(points), len(offsets), level.shape[1]), np.float32)
    for frame in np.unique(frames):
        cells = np.ascontiguousarray(level[frame].transpose(1, 2, 0))
        chosen = np.flatnonzero(frames == frame)
        for first in range(0, len(chosen), _POINTS_AT_ONCE):
            part = chosen[first : first + _POINTS_AT_ONCE]
            patches[part] = _sample_cells(cells, points[part, None] + offsets)
    return patches


def sine_table(length: int, width: int) -> FloatArray:
    """Table float32 (length, width) of times 0..length-1: sines of falling rates, then cosines. Source: CoTracker3."""
    rates = 10000.0 ** -(np.arange(width // 2) / (width / 2))
    angles = np.arange(length)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def stretch_table(table: FloatArray, length: int) -> FloatArray:
    """A table (M, C) interpolated linearly to (length, C), rows as pixels of which each covers 1 / M of the time."""
    if length == len(table):
        return table
    place = np.clip((np.arange(length) + 0.5) * (len(table) / length) - 0.5, 0, len(table) - 1)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, len(table) - 1)
    share = (place - low).astype(np.float32)[:, None]
    return np.asarray(table[low] * (1 - share) + table[high] * share, np.float32)


def spread_points(count: int, most: int) -> Sequence[IntArray]:
    """Numbers 0..count-1 in as few parts of at most ``most`` as do; every part is spread over all of them."""
    parts = -(-count // most)
    return [np.arange(first, count, parts) for first in range(parts)]


def _sample_cells(cells: FloatArray, points: FloatArray) -> FloatArray:
    """Bilinear values float32 (..., C) of cells (h, w, C) at points (..., 2)."""
    edge = np.array([cells.shape[1] - 1, cells.shape[0] - 1], np.float32)
    place = np.clip(points, 0, edge)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, edge.astype(np.int64))
    share = (place - low).astype(np.float32)
    right, down = share[..., :1], share[..., 1:]
    above = cells[low[..., 1], low[..., 0]] * (1 - right) + cells[low[..., 1], high[..., 0]] * right
    below = cells[high[..., 1], low[..., 0]] * (1 - right) + cells[high[..., 1], high[..., 0]] * right
    return np.asarray(above * (1 - down) + below * down, np.float32)
