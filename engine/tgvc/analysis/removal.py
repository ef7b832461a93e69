"""Painting a motion instance out of a picture: the part its tracks stand for, filled from around."""

from __future__ import annotations

import cv2
import numpy as np

from tgvc.types import FloatArray, Picture, Plane, join_planes, picture_planes

GRID = 64  # tracks per row and column: a track stands for two of these cells in each direction
INPAINT_RADIUS = 3


def cover_mask(points: FloatArray, width: int, height: int) -> Plane:
    """The part of the picture that tracked points stand for.

    Args:
        points: float32 (n, 2) px.
        width: Of the picture, px.
        height: Of the picture, px.

    Returns:
        uint8 (H, W), 255 inside the squares [x - r, x + r) x [y - r, y + r) of the points that lie in the picture
        (whole px), r = W // 64; 0 elsewhere.
    """
    mask = np.zeros((height, width), np.uint8)
    x, y = np.trunc(points.T).astype(int)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    mask[y[inside], x[inside]] = 255
    side = 2 * max(width // GRID, 1)
    square = np.ones((side, side), np.uint8)
    return np.asarray(cv2.dilate(mask, square, anchor=(side // 2 - 1, side // 2 - 1)), np.uint8)


def paint_away(picture: Picture, mask: Plane) -> Picture:
    """The picture with a region filled from around it.

    Args:
        picture: uint8 (3H/2, W).
        mask: uint8 (H, W), 255 where the picture is to be replaced.

    Returns:
        uint8 (3H/2, W), Navier-Stokes inpainting of every plane within the region's bounding box.

    Source: T-GVC (radius 3). Differs: docs/parity.md, "Importance".
    """
    luma, u, v = picture_planes(picture)
    coarse = mask.reshape(mask.shape[0] // 2, 2, mask.shape[1] // 2, 2).max(axis=(1, 3))
    return join_planes(_inpaint(luma, mask), _inpaint(u, coarse), _inpaint(v, coarse))


def _inpaint(plane: Plane, mask: Plane) -> Plane:
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return plane
    margin = 2 * INPAINT_RADIUS
    box = (slice(max(top - margin, 0), top + height + margin), slice(max(left - margin, 0), left + width + margin))
    filled = plane.copy()
    inner, hole = np.ascontiguousarray(plane[box]), np.ascontiguousarray(mask[box])
    filled[box] = cv2.inpaint(inner, hole, INPAINT_RADIUS, cv2.INPAINT_NS)
    return filled
