"""A set of cells <-> decisions: sorted along a Morton curve, each as the gap to the one before.

A set needs log2 C(cells, count) bits if nothing is known of it. The gaps' Golomb code with a learned unary part stays
within 0.2 bits per anchor of that on scattered sets and falls below it on clustered ones, as encoders choose them
(compared with splitting counts down a tree, which is no better and slower).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tgvc.bitstream.motion import Anchors, Grid
from tgvc.bitstream.rangecoder import BitWriter, Context, RangeDecoder
from tgvc.errors import BitstreamError

RAW_SHIFT = 3  # the unary part counts in units of 1/4 to 1/8 of the mean gap


@lru_cache(maxsize=8)
def morton_order(grid: Grid) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The cells of a grid along the Morton curve, cells outside the grid left out.

    Returns:
        ``cells``: int64 (w * h,), y * w + x of the cell of each rank. ``ranks``: int64 (w * h,), its inverse.
    """
    width, height = grid
    y, x = np.divmod(np.arange(width * height, dtype=np.int64), width)
    code = np.zeros_like(x)
    for i in range(max(width, height).bit_length()):
        code |= (x >> i & 1) << 2 * i | (y >> i & 1) << 2 * i + 1
    cells = np.argsort(code, kind="stable")
    ranks = np.empty_like(cells)
    ranks[cells] = np.arange(cells.size)
    cells.flags.writeable = ranks.flags.writeable = False
    return cells, ranks


def anchor_ranks(anchors: Anchors, grid: Grid) -> npt.NDArray[np.int64]:
    """Ranks int64 (K,) along the curve of cells int32 (K, 2); a cell outside the grid is a ValueError."""
    if anchors.size and (anchors.min() < 0 or np.any(anchors.max(0) >= grid)):
        raise ValueError(f"anchors: expected cells within {grid[0]}x{grid[1]}")
    ranks: npt.NDArray[np.int64] = morton_order(grid)[1][anchors[:, 1].astype(np.int64) * grid[0] + anchors[:, 0]]
    return ranks


def put_anchors(writer: BitWriter, unary: Sequence[Context], ranks: Sequence[int], grid: Grid) -> None:
    """Write increasing ranks; their number is known to the reader."""
    position, cells = 0, grid[0] * grid[1]
    for i, rank in enumerate(ranks):
        shift, limit = _gap_code(cells - position, len(ranks) - i)
        gap = rank - position
        steps, most = gap >> shift, limit >> shift
        for j in range(most):
            writer.bit(unary[min(j, len(unary) - 1)], j < steps)
            if j == steps:
                break
        writer.bits_raw(gap, shift)
        position = rank + 1


def get_anchors(reader: RangeDecoder, unary: Sequence[Context], count: int, grid: Grid) -> Anchors:
    """Read ``count`` anchors, int32 (count, 2)."""
    position, cells = 0, grid[0] * grid[1]
    ranks = np.zeros(count, np.int64)
    for i in range(count):
        shift, limit = _gap_code(cells - position, count - i)
        steps, most = 0, limit >> shift
        while steps < most and reader.bit(unary[min(steps, len(unary) - 1)]):
            steps += 1
        gap = steps << shift | reader.bits_raw(shift)
        if gap > limit:
            raise BitstreamError(f"motion, byte {reader.position}: an anchor outside the picture")
        ranks[i] = position + gap
        position += gap + 1
    cell = morton_order(grid)[0][ranks]
    return np.stack([cell % grid[0], cell // grid[0]], 1).astype(np.int32)


def anchor_bits(count: int, grid: Grid) -> float:
    """What one of ``count`` scattered anchors costs, bits: log2 C(cells, count) / count."""
    cells = grid[0] * grid[1]
    if not 0 < count <= cells:
        raise ValueError(f"count={count}: expected 1..{cells}")
    nats = math.lgamma(cells + 1) - math.lgamma(count + 1) - math.lgamma(cells - count + 1)
    return nats / math.log(2) / count


def _gap_code(left: int, count: int) -> tuple[int, int]:
    """Raw bits of the next gap, and the largest gap: ``left`` cells remain for ``count`` anchors."""
    return max(0, (left // (count + 1)).bit_length() - RAW_SHIFT), left - count
