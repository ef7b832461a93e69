"""Sparse motion to dense fields: for every frame between two key pictures, where its pixels lie in both of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np

from tgvc.opencv import one_cv_thread
from tgvc.synthesis.flow import CELL, KeyFlow
from tgvc.synthesis.motion import bilinear_model
from tgvc.types import FloatArray, Motion
from tgvc_kernels import ops

Spread: TypeAlias = Literal["shepard", "nearest"]
REACH_PX = 32.0  # distance at which a lone trajectory has half of its effect
_OUTSIDE_TRUST = 0.01  # of a candidate pixel that lies a cell or more outside its key picture


@dataclass(frozen=True)
class FrameFields:
    """Motion of one frame between two keys; displacements float32 (h, w, 2) in cells, trust float32 (h, w)."""

    tau: float
    to_first: FloatArray
    to_last: FloatArray
    trust_first: FloatArray
    trust_last: FloatArray


def _to_cells(points_px: FloatArray) -> FloatArray:
    return np.asarray((points_px + 0.5) / CELL - 0.5, dtype=np.float32)


def nearest_field(centres: FloatArray, values: FloatArray, height: int, width: int) -> FloatArray:
    """The value of the nearest centre in every cell: what a preview in a millisecond can know.

    Args:
        centres: float32 (K, 2) in cells; those outside count as on the border.
        values: float32 (K, 2).
        height: rows of the field.
        width: columns of the field.

    Returns:
        float32 (height, width, 2), zeros for K = 0.
    """
    if not len(centres):
        return np.zeros((height, width, 2), np.float32)
    x, y = (np.clip(np.rint(centres[:, n]), 0, side - 1).astype(np.intp) for n, side in enumerate((width, height)))
    free = np.ones((height, width), np.uint8)
    free[y, x] = 0
    with one_cv_thread():
        _, labels = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    known = np.zeros((int(labels.max()) + 1, 2), np.float32)
    known[labels[y, x]] = values
    return np.asarray(known[labels], np.float32)


def _fill(
    centres: FloatArray, values_px: FloatArray, visible: np.ndarray, like: FloatArray, spread: Spread
) -> FloatArray:
    """Field in cells of the visible trajectories; centres in cells, values in px."""
    height, width = like.shape[:2]
    seen, values = centres[visible], values_px[visible] / np.float32(CELL)
    if spread == "nearest":
        return nearest_field(seen, values, height, width)
    return ops.densify(seen, values, height, width, REACH_PX / CELL)


def linear_fields(flow: KeyFlow, tau: float) -> FrameFields:
    """Fields of a frame at time tau when everything moves in a straight line at constant speed."""
    to_first, to_last = ops.project(flow.forward, tau), ops.project(flow.backward, 1 - tau)
    ones = np.ones(to_first.shape, np.float32)
    trust = [
        np.ascontiguousarray(ops.shift(t[..., None] * ones, by)[..., 0] - by[..., 0])
        for t, by in ((flow.trust_first, to_first), (flow.trust_last, to_last))
    ]
    return FrameFields(tau, to_first, to_last, trust[0], trust[1])


def bend_fields(fields: FrameFields, by: FloatArray) -> FrameFields:
    """Fields of the frame whose pixel p shows what the given one shows at ``p + by(p)``; by float32 (h, w, 2) cells."""
    moved = [ops.shift(f, by) for f in (fields.to_first, fields.to_last)]
    return FrameFields(fields.tau, moved[0], moved[1], fields.trust_first, fields.trust_last)


def bend_of(motion: Motion, index: int, fields: FrameFields, flow: KeyFlow, spread: Spread = "shepard") -> FloatArray:
    """How mode T bends the linear fields of frame ``index`` (0 = first frame after the first key).

    Points move by ``model + phase * flow + tracks`` beyond the straight line, so the pixel p shows what the straight
    line shows at ``p`` minus that. A trajectory acts around the place where it is in this frame.

    Returns:
        float32 (h, w, 2) in cells, to be given to `bend_fields`.
    """
    h, w = fields.to_first.shape[:2]
    beyond = bilinear_model(motion.model[index] / np.float32(CELL), h, w)
    if motion.phase[index]:
        beyond = beyond + motion.phase[index] * (fields.to_last - fields.to_first)
    if len(motion.anchors) and motion.visible[:, index].any():
        values = motion.tracks[:, index]
        at = straight_points(motion, flow, fields.tau) + values / np.float32(CELL)
        beyond = beyond + _fill(at, values, motion.visible[:, index], fields.to_first, spread)
    return np.asarray(-beyond, dtype=np.float32)


def straight_points(motion: Motion, flow: KeyFlow, tau: float) -> FloatArray:
    """Where the decoder's flow alone puts the trajectories at time tau, float32 (K, 2) in cells."""
    start = _to_cells(motion.anchors)
    forth = np.float32(tau) * ops.sample_field(flow.forward, start)
    back = np.float32(1 - tau) * ops.sample_field(flow.backward, start)
    return np.asarray(start + np.where(motion.from_last[:, None], back, forth), dtype=np.float32)


def _global_fields(
    motion: Motion, length: int, height: int, width: int, open_end: bool, spread: Spread
) -> list[FrameFields]:
    """Mode G: displacement from the first key by model and tracks alone."""
    start = _to_cells(motion.anchors)
    still = np.zeros((height, width, 2), np.float32)
    forward = []
    for n in range(length - 1):
        field = bilinear_model(motion.model[n] / np.float32(CELL), height, width)
        if len(start) and motion.visible[:, n].any():
            field = field + _fill(start, motion.tracks[:, n], motion.visible[:, n], still, spread)
        forward.append(np.asarray(field, dtype=np.float32))
    result = []
    for n in range(length - 1 if open_end else length - 2):
        to_first = ops.project(forward[n], 1.0)
        if open_end:
            trust_first = _inside_trust(to_first)
            result.append(FrameFields(0.0, to_first, to_first, trust_first, trust_first))
            continue
        to_last = ops.shift(forward[-1], to_first)
        trust = [_inside_trust(f) for f in (to_first, to_last)]
        result.append(FrameFields((n + 1) / (length - 1), to_first, to_last, trust[0], trust[1]))
    return result


def _inside_trust(field: FloatArray) -> FloatArray:
    """Trust float32 (h, w) in what a field (h, w, 2) fetches: 1 inside the picture, falling to 0.01 a cell outside."""
    h, w = field.shape[:2]
    x = np.arange(w, dtype=np.float32) + field[..., 0]
    y = np.arange(h, dtype=np.float32)[:, None] + field[..., 1]
    outside = np.maximum(np.maximum(-x, x - (w - 1)), np.maximum(-y, y - (h - 1)))
    return np.asarray(np.clip(1 - outside, _OUTSIDE_TRUST, 1), dtype=np.float32)


def frame_fields(
    motion: Motion,
    flow: KeyFlow | None,
    length: int,
    height: int,
    width: int,
    *,
    open_end: bool = False,
    spread: Spread = "shepard",
) -> list[FrameFields]:
    """Fields of all frames between the keys of a segment.

    Args:
        motion: decoded motion.
        flow: flow between the decoded keys; needed by modes F and T.
        length: frames of the segment, both keys included.
        height: rows of the fields in cells.
        width: columns of the fields in cells.
        open_end: there is no last key, and motion of mode G leads on to the last frame; the first key is told as both.
        spread: how trajectories fill the picture between them: smoothly, or each place as the nearest one moves.

    Returns:
        ``length - 2`` fields in time order, with an open end ``length - 1``.
    """
    if open_end and motion.mode != "G":
        raise ValueError(f"mode {motion.mode} needs a last key picture")
    taus = [n / (length - 1) for n in range(1, length - 1)]
    if motion.mode == "H":
        zeros, ones = np.zeros((height, width, 2), np.float32), np.ones((height, width), np.float32)
        return [FrameFields(tau, zeros, zeros, ones, ones) for tau in taus]
    if motion.mode == "G":
        return _global_fields(motion, length, height, width, open_end, spread)
    if flow is None:
        raise ValueError(f"mode {motion.mode} needs the flow between the key pictures")
    linear = [linear_fields(flow, tau) for tau in taus]
    if motion.mode == "F":
        return linear
    return [bend_fields(f, bend_of(motion, n, f, flow, spread)) for n, f in enumerate(linear)]
