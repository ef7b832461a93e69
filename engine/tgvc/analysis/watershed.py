"""Anchors of sparse motion by watershed sampling: points in the middle of what moves alike, far from motion edges.

Source: Dynamics-Codec's sampler as MOFA-Video and CMP publish it. Differs: docs/dynamics.md: where the
published code drops one of two near points at random, the one farther from any edge stays; the edges are those of all
frames, not of the last one, which misses what sways and has come back by then.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from tgvc.opencv import one_cv_thread
from tgvc.types import FloatArray, IntArray

EDGE = 0.1  # share of the strongest motion edge from which on a pixel is one
WINDOWS = (9, 129)  # narrowest and widest window in which an anchor is the only one, pixels, odd
_STILL = 0.01  # edge energy of a frame below which it is noise and is not brought to 1


def motion_edges(flows: FloatArray) -> FloatArray:
    """Where neighbouring pixels move apart in any frame.

    Args:
        flows: float32 (n, h, w, 2) px, displacement of every pixel of the key picture to n frames.

    Returns:
        float32 (h, w) in 0..1: the largest over the frames of the gradient of the flow, each frame's own largest
        being 1. Zeros for no frames.
    """
    h, w = flows.shape[1:3]
    strongest = np.zeros((h, w), np.float32)
    with one_cv_thread():
        for flow in flows:
            energy = np.zeros((h, w), np.float32)
            for axis in range(2):
                plane = np.ascontiguousarray(flow[..., axis])
                across, down = cv2.Sobel(plane, cv2.CV_32F, 1, 0), cv2.Sobel(plane, cv2.CV_32F, 0, 1)
                energy += cv2.magnitude(across, down)
            strongest = np.maximum(strongest, energy / max(float(energy.max()), _STILL))
    return np.asarray(strongest, np.float32)


def edge_distance(edges: FloatArray) -> npt.NDArray[np.int32]:
    """Squared distance int32 (h, w) in px from every pixel to the nearest motion edge; -1 where there is none."""
    flat = np.asarray(edges <= EDGE, np.uint8)
    if flat.all():
        return np.full(edges.shape, -1, np.int32)
    with one_cv_thread():
        distance = cv2.distanceTransform(flat, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # the exact transform is the root of a whole number, which float32 tells apart for pictures of any size we take
    return np.asarray(np.rint(distance.astype(np.float64) ** 2), np.int32)


def find_anchors(distance: npt.NDArray[np.int32], window: int) -> IntArray:
    """Points that lie farther from motion edges than all others in a window around them.

    Args:
        distance: int32 (h, w), of `edge_distance`.
        window: side of the window in px, odd.

    Returns:
        int64 (K, 2) px, (x, y), the farthest from an edge first, then row by row; no two are closer than half a window
        along both axes. None on the outermost pixels, and none where nothing moves.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window={window}: expected an odd number of pixels")
    height, width = distance.shape
    with one_cv_thread():  # of float32, which holds these whole numbers
        highest = cv2.dilate(distance.astype(np.float32), np.ones((window, window), np.uint8))
    peaks = (distance == highest) & (distance > 0)
    peaks[[0, -1]] = False
    peaks[:, [0, -1]] = False
    y, x = np.nonzero(peaks)
    order = np.argsort(-distance[y, x], kind="stable")
    free = np.ones((height, width), bool)
    near, kept = (window - 1) // 2, []
    for column, row in zip(x[order].tolist(), y[order].tolist(), strict=True):
        if free[row, column]:
            kept.append((column, row))
            free[max(row - near + 1, 0) : row + near, max(column - near + 1, 0) : column + near] = False
            free[row, column] = False
    return np.asarray(kept, np.int64).reshape(-1, 2)


def choose_anchors(distance: npt.NDArray[np.int32], count: int) -> tuple[IntArray, int]:
    """As many anchors as there are in the narrowest window that gives at most ``count``.

    Args:
        distance: int32 (h, w), of `edge_distance`.
        count: anchors wanted.

    Returns:
        The anchors, as of `find_anchors`, at most ``count``, and the window in px.
    """
    low, high = (side // 2 for side in WINDOWS)  # a window of side 2 i + 1
    while low < high:
        middle = (low + high) // 2
        if len(find_anchors(distance, 2 * middle + 1)) > count:
            low = middle + 1
        else:
            high = middle
    window = 2 * low + 1
    return find_anchors(distance, window)[:count], window
