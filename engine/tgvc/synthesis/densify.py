"""Sparse motion to dense fields: for every frame between two key pictures, where its pixels lie in both of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tgvc.synthesis.flow import CELL, KeyFlow
from tgvc.types import FloatArray, Motion
from tgvc_kernels import ops

REACH_PX = 70.0  # distance at which a lone trajectory has half of its effect


@dataclass(frozen=True)
class FrameFields:
    """Motion of one frame between two keys; displacements float32 (h, w, 2) in cells, trust float32 (h, w)."""

    tau: float
    to_first: FloatArray
    to_last: FloatArray
    trust_first: FloatArray
    trust_last: FloatArray


def bilinear_model(weights: FloatArray, height: int, width: int) -> FloatArray:
    """Field of a bilinear model.

    Args:
        weights: float32 (4, 2), displacement weights of (1, u, v, uv); any unit.
        height: rows of the field.
        width: columns of the field.

    Returns:
        float32 (height, width, 2) in the weights' unit.
    """
    u = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
    v = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
    w = weights.astype(np.float32)
    return np.asarray(w[0] + w[1] * u + (w[2] + w[3] * u) * v, dtype=np.float32)


def _to_cells(points_px: FloatArray) -> FloatArray:
    return np.asarray((points_px + 0.5) / CELL - 0.5, dtype=np.float32)


def _spread(centres: FloatArray, values_px: FloatArray, visible: np.ndarray, like: FloatArray) -> FloatArray:
    """Shepard's field in cells of the visible trajectories; centres in cells, values in px."""
    height, width = like.shape[:2]
    return ops.densify(centres[visible], values_px[visible] / np.float32(CELL), height, width, REACH_PX / CELL)


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


def bend_of(motion: Motion, index: int, fields: FrameFields, flow: KeyFlow) -> FloatArray:
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
        start = _to_cells(motion.anchors)
        values = motion.tracks[:, index]
        at = start + np.float32(fields.tau) * ops.sample_field(flow.forward, start) + values / np.float32(CELL)
        beyond = beyond + _spread(at, values, motion.visible[:, index], fields.to_first)
    return np.asarray(-beyond, dtype=np.float32)


def _global_fields(motion: Motion, length: int, height: int, width: int) -> list[FrameFields]:
    """Mode G: displacement from the first key by model and tracks alone."""
    start = _to_cells(motion.anchors)
    still = np.zeros((height, width, 2), np.float32)
    forward = []
    for n in range(length - 1):
        field = bilinear_model(motion.model[n] / np.float32(CELL), height, width)
        if len(start) and motion.visible[:, n].any():
            field = field + _spread(start, motion.tracks[:, n], motion.visible[:, n], still)
        forward.append(np.asarray(field, dtype=np.float32))
    ones = np.ones((height, width), np.float32)
    result = []
    for n in range(length - 2):
        to_first = ops.project(forward[n], 1.0)
        to_last = ops.shift(forward[-1], to_first)
        result.append(FrameFields((n + 1) / (length - 1), to_first, to_last, ones, ones))
    return result


def frame_fields(motion: Motion, flow: KeyFlow | None, length: int, height: int, width: int) -> list[FrameFields]:
    """Fields of all frames between the keys of a segment.

    Args:
        motion: decoded motion.
        flow: flow between the decoded keys; needed by modes F and T.
        length: frames of the segment, both keys included.
        height: rows of the fields in cells.
        width: columns of the fields in cells.

    Returns:
        ``length - 2`` fields in time order.
    """
    taus = [n / (length - 1) for n in range(1, length - 1)]
    if motion.mode == "H":
        zeros, ones = np.zeros((height, width, 2), np.float32), np.ones((height, width), np.float32)
        return [FrameFields(tau, zeros, zeros, ones, ones) for tau in taus]
    if motion.mode == "G":
        return _global_fields(motion, length, height, width)
    if flow is None:
        raise ValueError(f"mode {motion.mode} needs the flow between the key pictures")
    linear = [linear_fields(flow, tau) for tau in taus]
    if motion.mode == "F":
        return linear
    return [bend_fields(f, bend_of(motion, n, f, flow)) for n, f in enumerate(linear)]
