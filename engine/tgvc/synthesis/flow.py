"""Optical flow between decoded key pictures: the motion that costs no bits.

The result is float arithmetic of a library and may differ in the last bits between machines; it moves pixels and never
steers the parsing of a stream.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tgvc.opencv import one_cv_thread
from tgvc.types import FloatArray, Plane
from tgvc_kernels import ops

CELL = 2  # px: fields have one vector per 2 x 2 pixels; finer measured no better (docs/design.md)
_PATCH = 8  # px: side of what DIS compares; it reads beyond its memory where a level of its pyramid is narrower
_SHORTEST = 12  # px: planes without a longer side are refused by DIS
_TRUST_SCALE = 2.0  # cells of forward-backward error at which trust falls to 1/e
_TRUST_FLOOR = 0.05


def shrink_plane(plane: Plane, factor: int = CELL) -> Plane:
    """Mean over blocks of factor x factor pixels, uint8 (H/factor, W/factor)."""
    height, width = plane.shape
    return np.asarray(
        cv2.resize(plane, (width // factor, height // factor), interpolation=cv2.INTER_AREA), dtype=np.uint8
    )


def measure_flow(source: Plane, target: Plane, finest: int = 1) -> FloatArray:
    """Dense flow of DIS (Kroeger et al., ECCV 2016) from one plane to another.

    Args:
        source: uint8 (h, w).
        target: uint8 (h, w).
        finest: pyramid level at which the search ends; 0 is full size, and so is the end in planes below 16 px.

    Returns:
        float32 (h, w, 2) px of these planes: ``source(p)`` is seen at ``p + flow(p)`` in the target. Planes in which
        there is no room for a search, as those of key pictures of 16 x 16 px, stand still.
    """
    levels = (min(source.shape) // _PATCH).bit_length()  # that hold a patch
    if not levels or max(source.shape) < _SHORTEST:
        return np.zeros((*source.shape, 2), np.float32)
    with one_cv_thread():
        engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        engine.setFinestScale(min(finest, levels - 1))
        flow = engine.calc(source, target, None)  # type: ignore[call-overload]
    return np.asarray(flow, dtype=np.float32)


@dataclass(frozen=True)
class KeyFlow:
    """Flow between two neighbouring key pictures, all float32 in cells of `CELL` px.

    ``forward, backward`` (h, w, 2): first to last and back. ``trust_first, trust_last`` (h, w): 0.05..1, how well a
    trip forth and back returns to where it began.
    """

    forward: FloatArray
    backward: FloatArray
    trust_first: FloatArray
    trust_last: FloatArray


def _trust(forth: FloatArray, back: FloatArray) -> FloatArray:
    error = np.linalg.norm(ops.shift(back, forth), axis=-1)
    return np.asarray(_TRUST_FLOOR + (1 - _TRUST_FLOOR) * np.exp(-((error / _TRUST_SCALE) ** 2)), dtype=np.float32)


def measure_key_flow(first: Plane, last: Plane) -> KeyFlow:
    """Flow both ways between the luma planes uint8 (H, W) of two key pictures, with the forward-backward check."""
    with one_cv_thread():
        a, b = shrink_plane(first), shrink_plane(last)
    forward, backward = measure_flow(a, b), measure_flow(b, a)
    return KeyFlow(forward, backward, _trust(forward, backward), _trust(backward, forward))
