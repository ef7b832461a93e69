"""Noise that moves with what the frames show, so that painted texture sticks to objects instead of to the screen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tgvc.synthesis.densify import FrameFields
from tgvc.synthesis.flow import CELL
from tgvc.synthesis.paths import cell_centres, follow_points, to_cells
from tgvc.types import BoolArray, FloatArray
from tgvc_kernels import ops

_LEAST_TRUST = 0.3
Cells = npt.NDArray[np.int64]


def carry_noise(fresh: FloatArray, before: FloatArray, fields: Sequence[FrameFields], cell_px: int) -> FloatArray:
    """Noise of the frames of a segment after its first key picture, moved there from that key.

    A cell takes the number of the cell that its centre comes from. Where two would take the same one, where a centre
    comes from outside and where the motion is not trusted, a cell keeps its own: so each frame is white noise of unit
    variance, exactly.

    Args:
        fresh: float32 (C, n, h, w), the own noise of the n frames after the first key, the last key included.
        before: float32 (C, h, w), noise of the first key.
        fields: of the n - 1 frames between the keys.
        cell_px: width and height of a latent cell, px.

    Returns:
        float32 (C, n, h, w).
    """
    channels, frames, h, w = fresh.shape
    centres = cell_centres(h, w, cell_px)
    carried = fresh.copy()
    for frame in range(frames):
        if frame < len(fields):
            field = fields[frame]
            at = to_cells(centres)
            source = at + ops.sample_field(field.to_first, at)
            known = _trusted(field.trust_first, h, w)
        elif fields:
            path = follow_points(centres, fields, from_last=True)
            source, known = to_cells(path.xy[:, 0]), path.visible[:, 0]
        else:  # neighbouring key frames: nothing is known of the motion between them, and standing still is likeliest
            source, known = to_cells(centres), np.ones(h * w, np.bool_)
        index, taken = _source_cells(source, known, h, w, cell_px)
        flat = carried[:, frame].reshape(channels, -1)
        flat[:, taken] = before.reshape(channels, -1)[:, index[taken]]
        carried[:, frame] = flat.reshape(channels, h, w)
    return carried


def _source_cells(source: FloatArray, known: BoolArray, h: int, w: int, cell_px: int) -> tuple[Cells, BoolArray]:
    """Flat index of the latent cell that each one comes from, and whether it may take that cell's number.

    Args:
        source: float32 (h * w, 2), where centres come from, in cells of `CELL` px.
        known: bool (h * w,).
        h: rows of latent cells.
        w: columns of latent cells.
        cell_px: size of a latent cell.
    """
    column, row = (np.floor((source[:, n] + np.float32(0.5)) * np.float32(CELL / cell_px)) for n in (0, 1))
    inside = known & (column >= 0) & (column < w) & (row >= 0) & (row < h)
    index = np.where(inside, row * w + column, -1).astype(np.int64)
    taken = np.zeros(h * w, np.bool_)
    taken[np.unique(index, return_index=True)[1]] = True  # the first in reading order, of those with the same source
    return index, taken & inside


def _trusted(trust: FloatArray, h: int, w: int) -> BoolArray:
    """Whether the mean trust of a latent cell is enough: bool (h * w,)."""
    fine_h, fine_w = trust.shape
    means = trust.reshape(h, fine_h // h, w, fine_w // w).mean(axis=(1, 3))
    return np.asarray(means >= _LEAST_TRUST).reshape(-1)
