"""Where points of key pictures are in the frames between them: what the trajectories say to the networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tgvc.synthesis.densify import FrameFields
from tgvc.synthesis.flow import CELL
from tgvc.synthesis.motion import model_at
from tgvc.types import BoolArray, FloatArray, Motion
from tgvc_kernels import ops

_ROUNDS = 4  # of the fixed point; the guess comes from the frame before, so the error is small from the start
_MOST_ERROR = 1.0  # cells of 2 px by which a point that was found may miss the one that was looked for
_LEAST_TRUST = 0.3


class Paths(NamedTuple):
    """Points through a segment: ``xy`` float32 (K, T, 2) px, ``visible`` bool (K, T), both keys included."""

    xy: FloatArray
    visible: BoolArray


def cell_centres(height: int, width: int, cell_px: int) -> FloatArray:
    """Centres of latent cells, row by row: float32 (height * width, 2) px."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x, y], axis=-1).reshape(-1, 2) * np.float32(cell_px) + np.float32((cell_px - 1) / 2)


def follow_points(points_px: FloatArray, fields: Sequence[FrameFields], *, from_last: bool = False) -> Paths:
    """Follow points of a key picture through the frames of a segment to the other key picture.

    The fields say where a frame's pixels lie in the keys; a point's place in a frame is where that leads back to it.

    Args:
        points_px: float32 (K, 2), in the first key, or in the last one.
        fields: of all frames between the keys, at least one.
        from_last: the points lie in the last key.

    Returns:
        Paths in order of time. Hidden: not found, or where the fields are not trusted.
    """
    count, frames = len(points_px), len(fields) + 2
    xy, visible = np.empty((count, frames, 2), np.float32), np.ones((count, frames), np.bool_)
    own, other = (frames - 1, 0) if from_last else (0, frames - 1)
    order = range(frames - 2, 0, -1) if from_last else range(1, frames - 1)
    xy[:, own] = points_px
    wanted = to_cells(points_px)
    at = wanted
    for frame in order:
        field = fields[frame - 1]
        back, trust = (field.to_last, field.trust_last) if from_last else (field.to_first, field.trust_first)
        for _ in range(_ROUNDS):
            at = wanted - ops.sample_field(back, at)
        missed = np.abs(at + ops.sample_field(back, at) - wanted).max(axis=1)
        xy[:, frame] = to_px(at)
        visible[:, frame] = (missed <= _MOST_ERROR) & (_nearest(trust, at) >= _LEAST_TRUST)
    far = fields[0] if from_last else fields[-1]
    ahead, trust = (far.to_first, far.trust_first) if from_last else (far.to_last, far.trust_last)
    xy[:, other] = to_px(at + ops.sample_field(ahead, at))
    visible[:, other] = visible[:, 1 if from_last else frames - 2] & (_nearest(trust, at) >= _LEAST_TRUST)
    return Paths(xy, visible)


def sent_paths(motion: Motion, fields: Sequence[FrameFields], width: int, height: int) -> Paths:
    """The trajectories that the stream carries, modes T and G; none in other modes.

    Args:
        motion: of the segment.
        fields: of the frames between its keys.
        width: of the picture, px.
        height: of the picture, px.
    """
    frames = len(fields) + 2
    if not len(motion.anchors) or not fields:
        return Paths(np.zeros((0, frames, 2), np.float32), np.zeros((0, frames), np.bool_))
    if motion.mode == "G":
        moved = model_at(motion.model, motion.anchors, width, height).transpose(1, 0, 2) + motion.tracks
        still = np.zeros((len(moved), 1, 2), np.float32)
        xy = motion.anchors[:, None] + np.concatenate([still, moved], axis=1)
        seen = np.concatenate([np.ones((len(moved), 1), np.bool_), motion.visible], axis=1)
        return Paths(np.asarray(xy, np.float32), seen)
    xy, visible = np.empty((len(motion.anchors), frames, 2), np.float32), np.ones((len(motion.anchors), frames), bool)
    for late in (False, True):
        mine = motion.from_last == late
        xy[mine], visible[mine] = follow_points(motion.anchors[mine], fields, from_last=late)
    visible[:, 1:-1] &= motion.visible
    return Paths(xy, visible)


def to_cells(points_px: FloatArray) -> FloatArray:
    """Positions in px as positions in cells of `CELL` px."""
    return np.asarray((points_px + 0.5) / CELL - 0.5, dtype=np.float32)


def to_px(points: FloatArray) -> FloatArray:
    """The inverse of `to_cells`."""
    return np.asarray((points + 0.5) * CELL - 0.5, dtype=np.float32)


def _nearest(plane: FloatArray, at: FloatArray) -> FloatArray:
    """The nearest values float32 (K,) of a plane float32 (h, w) to positions (K, 2) in its cells."""
    x, y = (np.clip(np.rint(at[:, n]), 0, plane.shape[1 - n] - 1).astype(np.intp) for n in (0, 1))
    return plane[y, x]
