"""The coded motion of a segment as numbers of px: what every reader of a stream needs, and nothing that is heavy."""

from __future__ import annotations

import numpy as np

from tgvc.bitstream.motion import SegmentMotion, anchor_points
from tgvc.bitstream.transform import dequantise, step_px
from tgvc.types import FloatArray, Motion, still_motion

PHASE_SCALE = np.float32(16)  # coded steps of the phase are 1/16 of the step of the model


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


def read_motion(segment: SegmentMotion, width: int, height: int) -> Motion:
    """Dequantise the motion of a segment.

    Args:
        segment: as coded.
        width: working width in px.
        height: working height in px.

    Returns:
        Trajectories of mode G that were anchored in the last key are returned as anchored in the first.
    """
    if segment.mode in "FH":
        return still_motion(segment.mode)
    model = dequantise(segment.global_coefs, step_px(segment.global_step), segment.transform, axis=0)
    phase = dequantise(segment.phase_coefs, step_px(segment.global_step), segment.transform, axis=0) / PHASE_SCALE
    beyond = dequantise(segment.coefs, step_px(segment.track_step), segment.transform)
    beyond[segment.origin] = beyond[segment.origin, ::-1]
    anchors, visible = anchor_points(segment.anchors), segment.visible
    if segment.mode == "T":
        return Motion("T", model, phase, anchors, segment.origin, beyond, visible[:, 1:-1])
    last = segment.origin
    anchors, tracks = anchors.copy(), beyond.copy()
    if last.any():
        # a point at x in the last key moves by model(t, x) - model(end, x) + beyond(t), t = 0 .. T - 2
        ends = model_at(model[-1:], anchors[last], width, height)[0]
        starts = anchors[last] - ends + beyond[last, 0]
        places = [
            anchors[last] + model_at(model[t : t + 1], anchors[last], width, height)[0] - ends + beyond[last, t + 1]
            for t in range(len(model) - 1)
        ]
        places.append(anchors[last])
        moved = np.stack(places, axis=1) - starts[:, None]
        tracks[last] = moved - model_at(model, starts, width, height).transpose(1, 0, 2)
        anchors[last] = starts
    return Motion("G", model, phase, anchors, np.zeros(len(anchors), bool), tracks, visible[:, 1:])


def model_at(model: FloatArray, points: FloatArray, width: int, height: int) -> FloatArray:
    """The bilinear model float32 (n, 4, 2) px at points float32 (K, 2) px: float32 (n, K, 2) px."""
    u = 2 * points[:, 0] / (width - 1) - 1
    v = 2 * points[:, 1] / (height - 1) - 1
    terms = np.stack([np.ones_like(u), u, v, u * v], axis=-1)
    return np.asarray(np.einsum("km,nmc->nkc", terms, model), dtype=np.float32)
