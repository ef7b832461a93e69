"""Dense optical flow of an encoder that must give the same answer on every run: DIS, pinned to one thread.

A flow is float32 (H, W, 2) in px: the point (x, y) of the first picture is found at (x, y) + flow[y, x] in the second.
"""

from __future__ import annotations

import cv2
import numpy as np

from tgvc.types import FloatArray, Plane

MOST_ROWS = 32_000  # of places that OpenCV looks up at once: it counts them in 16 bits
CAMERA_ROUNDS = 6  # of reweighting
CAMERA_SOFTNESS = 2.0  # px: residual at which a point has half its weight
CAMERA_INLIER = 2.0  # px
CAMERA_SUPPORT = 0.6  # share of consistent points that must agree before the model is used
CAMERA_POINTS = 200
CAMERA_BEND = 0.02  # smallest rotation or zoom worth a warp: below it patches match as well without


def pixel_grid(height: int, width: int) -> FloatArray:
    """Coordinates float32 (H, W, 2): (x, y) in px of every pixel."""
    return np.stack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)), axis=-1)


def sample_at(field: FloatArray, points: FloatArray) -> FloatArray:
    """Bilinear values float32 (P, C) of a field (H, W, C) at points (P, 2) px; the border repeats outside."""
    return look_up(field, points[:, None])[:, 0]


def look_up(field: FloatArray | Plane, places: FloatArray) -> FloatArray:
    """Bilinear values float32 (P, K, C) of a field (H, W, C), or (P, K) of a plane (H, W), at places (P, K, 2) px.

    Args:
        field: its values keep their type on the way, so that those of a plane of bytes are whole numbers.
        places: any number of rows; the border repeats outside of the field.
    """
    found = [np.zeros((0, places.shape[1], *field.shape[2:]), field.dtype)]
    for start in range(0, len(places), MOST_ROWS):
        where = np.ascontiguousarray(places[start : start + MOST_ROWS], np.float32)
        found.append(cv2.remap(field, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))  # type: ignore[call-overload]
    return np.concatenate(found).astype(np.float32, copy=False)


def match_dense(matcher: cv2.DISOpticalFlow, first: Plane, second: Plane, initial: FloatArray) -> FloatArray:
    """Flow from the first to the second luma plane, started from ``initial``, which is left alone.

    OpenCV ignores an initial flow of another type or size without a word, so it is copied to the right one here.
    """
    return np.asarray(matcher.calc(first, second, initial.astype(np.float32, copy=True)), np.float32)


def fit_camera(start: FloatArray, end: FloatArray) -> FloatArray | None:
    """The affine motion that most points follow, or None where there is none worth compensating.

    Args:
        start: float32 (P, 2) px, points spread over the picture.
        end: float32 (P, 2) px, where they went.

    Returns:
        float32 (2, 3) px, A with (x', y') = A (x, y, 1); None if too few points agree on one motion, or if it hardly
        rotates or zooms. Source: own (iteratively reweighted least squares with Cauchy weights).
    """
    if len(start) < CAMERA_POINTS:
        return None
    terms = np.concatenate([start, np.ones((len(start), 1))], axis=1, dtype=np.float64)
    weight = np.ones(len(start))
    for _ in range(CAMERA_ROUNDS):
        weighted = terms * weight[:, None]
        solution = np.linalg.lstsq(weighted.T @ terms, weighted.T @ end, rcond=None)[0]
        miss = np.hypot(*(terms @ solution - end).T)
        weight = 1 / (1 + (miss / CAMERA_SOFTNESS) ** 2)
    bend = np.abs(solution[:2] - np.eye(2)).max()
    if np.mean(miss < CAMERA_INLIER) < CAMERA_SUPPORT or bend < CAMERA_BEND or abs(np.linalg.det(solution[:2])) < 0.1:
        return None
    return np.ascontiguousarray(solution.T, np.float32)


def invert_affine(affine: FloatArray) -> FloatArray:
    """The inverse float32 (2, 3) of an affine motion (2, 3)."""
    return np.asarray(cv2.invertAffineTransform(affine), np.float32)


def move_affine(points: FloatArray, affine: FloatArray) -> FloatArray:
    """Points float32 (..., 2) px under an affine motion (2, 3)."""
    return np.asarray(points @ affine[:, :2].T + affine[:, 2], np.float32)


def match_moved(
    matcher: cv2.DISOpticalFlow, first: Plane, second: Plane, initial: FloatArray, camera: FloatArray | None
) -> FloatArray:
    """`match_dense` with the second plane first brought into the first one's frame by a known camera motion.

    A patch that has turned or grown no longer matches itself; after the warp it does.

    Args:
        matcher: The DIS object.
        first: uint8 (H, W) luma.
        second: The later one.
        initial: float32 (H, W, 2) px, guess of the flow from first to second.
        camera: float32 (2, 3), where a point of the first plane went by camera motion alone; None for no warp.

    Returns:
        float32 (H, W, 2) px, the flow from the first plane to the second. Source: own.
    """
    if camera is None:
        return match_dense(matcher, first, second, initial)
    height, width = first.shape
    grid = pixel_grid(height, width)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    still = np.asarray(
        cv2.warpAffine(second, camera, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )
    rest = match_dense(matcher, first, still, move_affine(grid + initial, invert_affine(camera)) - grid)
    return move_affine(grid + rest, camera) - grid
