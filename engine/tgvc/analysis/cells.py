"""Motion between a key picture and a frame on coarse cells, as networks of people are told it."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from tgvc.analysis.flow import match_dense, pixel_grid
from tgvc.opencv import one_cv_thread
from tgvc.types import FloatArray, Plane

_BELIEVED = 12.0  # levels of 255 by which a moved picture may miss on average before its motion counts for nothing
_AROUND = 9  # px that this is averaged over


class CellMotion(NamedTuple):
    """``motion`` float32 (2, h, w) cells, (x, y): where cells of the frame lie in the key picture, as a displacement.

    ``trust`` float32 (1, h, w): 0..1, how far the key picture, moved so, shows the frame.
    """

    motion: FloatArray
    trust: FloatArray


def measure_cells(key: Plane, frame: Plane, cell: int) -> CellMotion:
    """Optical flow (DIS) from a frame to its key picture.

    Args:
        key: luma uint8 (H, W).
        frame: luma uint8 (H, W).
        cell: px per cell; H and W are multiples of it.
    """
    height, width = frame.shape
    with one_cv_thread():
        matcher = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        flow = match_dense(matcher, frame, key, np.zeros((height, width, 2), np.float32))
        place = pixel_grid(height, width) + flow
        moved = cv2.remap(key, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        miss = cv2.blur(cv2.absdiff(moved, frame).astype(np.float32), (_AROUND, _AROUND))
    trust = np.clip(1 - miss / np.float32(_BELIEVED), 0, 1).astype(np.float32)
    return CellMotion(_means(flow.transpose(2, 0, 1), cell) / np.float32(cell), _means(trust[None], cell))


def _means(values: FloatArray, cell: int) -> FloatArray:
    count, height, width = values.shape
    parts = values.reshape(count, height // cell, cell, width // cell, cell)
    return np.ascontiguousarray(parts.mean(axis=(2, 4), dtype=np.float32))
