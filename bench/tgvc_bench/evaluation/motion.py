"""Does the output move as the source does, and where are the trajectories that a stream sent?"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from tgvc.bitstream.container import Reader
from tgvc.decoder import decode_group
from tgvc.overlap import StageClock
from tgvc.synthesis.conditions import group_conditions
from tgvc.synthesis.flow import measure_flow
from tgvc.synthesis.paths import Paths, sent_paths
from tgvc.types import BoolArray, FloatArray, Plane
from tgvc_kernels import ops

WINDOW = 16  # frames over which points are followed before they start anew
_PITCH = 16  # px between the points
_ROUND_TRIP = 1.0  # px by which a step there and back may miss
# Grain of a generator may stand still while the scene moves; without smoothing it is what the flow follows. On two
# clips the grain of `latent` adds 3.4 and 8.1 px to the error at 0 px of smoothing, 0.2 and 0.1 at 2, 0.1 and 0.0 at 3.
_SMOOTHING = 2.0
_LEAST_GRADIENT = 2.0  # grey levels per px, mean around a point: in flat places no motion is to be seen


class SourceTracks:
    """Points followed through the source, against which outputs are measured.

    Args:
        lumas: uint8 (H, W), the frames.
    """

    def __init__(self, lumas: Sequence[Plane]) -> None:
        self.windows: list[tuple[int, int, Paths]] = []
        lumas = _smooth(lumas)
        for first in range(0, len(lumas) - 1, WINDOW):
            frames = lumas[first : first + WINDOW + 1]
            starts = _textured_points(frames[0])
            if len(starts):
                self.windows.append((first, len(frames), _follow_surely(frames, starts)))

    def error(self, lumas: Sequence[Plane]) -> float | None:
        """Mean distance in px of the points followed again through other frames, from where the source has them.

        Only points and frames count in which the source's own track is sure. None: there are none.

        Source: own; asked for by the reviewers of guided codecs, reported by none.
        """
        total, count, lumas = 0.0, 0, _smooth(lumas)
        for first, length, paths in self.windows:
            xy = follow(lumas[first : first + length], paths.xy[:, 0])
            away = np.linalg.norm(xy - paths.xy, axis=-1)[:, 1:][paths.visible[:, 1:]]
            total, count = total + float(away.sum(dtype=np.float64)), count + away.size
        return total / count if count else None


def follow(lumas: Sequence[Plane], starts: FloatArray) -> FloatArray:
    """Points followed from frame to frame by dense optical flow: float32 (K, T, 2) px.

    Args:
        lumas: uint8 (H, W), T frames.
        starts: float32 (K, 2) px, in the first frame.
    """
    xy = np.empty((len(starts), len(lumas), 2), np.float32)
    xy[:, 0] = at = np.asarray(starts, np.float32)
    for frame in range(1, len(lumas)):
        flow = measure_flow(lumas[frame - 1], lumas[frame], finest=0)
        at = np.asarray(at + ops.sample_field(flow, np.ascontiguousarray(at)), np.float32)
        xy[:, frame] = at
    return xy


def _smooth(lumas: Sequence[Plane]) -> list[Plane]:
    return [np.asarray(cv2.GaussianBlur(luma, (0, 0), _SMOOTHING), np.uint8) for luma in lumas]


def _follow_surely(lumas: Sequence[Plane], starts: FloatArray) -> Paths:
    """The same, with ``visible`` until a step that does not lead back, or leaves the picture."""
    xy = follow(lumas, starts)
    visible: BoolArray = np.ones(xy.shape[:2], np.bool_)
    height, width = lumas[0].shape
    for frame in range(1, len(lumas)):
        back = measure_flow(lumas[frame], lumas[frame - 1], finest=0)
        at = np.ascontiguousarray(xy[:, frame])
        missed = np.linalg.norm(at + ops.sample_field(back, at) - xy[:, frame - 1], axis=1)
        inside = np.all((at >= 0) & (at <= (width - 1, height - 1)), axis=1)
        visible[:, frame] = visible[:, frame - 1] & (missed <= _ROUND_TRIP) & inside
    return Paths(xy, visible)


def _textured_points(luma: Plane) -> FloatArray:
    """Centres of the cells whose gradient is seen, float32 (K, 2) px."""
    strength = np.hypot(*np.gradient(luma.astype(np.float32)))
    rows, columns = luma.shape[0] // _PITCH, luma.shape[1] // _PITCH
    whole = strength[: rows * _PITCH, : columns * _PITCH]
    cells = whole.reshape(rows, _PITCH, columns, _PITCH).mean(axis=(1, 3))
    y, x = np.nonzero(cells >= _LEAST_GRADIENT)
    return np.asarray(np.stack([x, y], axis=1) * _PITCH + (_PITCH - 1) / 2, np.float32)


def read_trajectories(stream: bytes) -> dict[str, Any]:
    """The trajectories that a stream sent, as its decoder moves them, frames counted over the whole stream.

    Returns:
        ``segments``: ``first``, ``length``, ``xy`` (K, T, 2) px in tenths, ``visible`` (K, T) 0 or 1; those without any
        are left out.
    """
    reader = Reader(io.BytesIO(stream))
    segments, start = [], 0
    for group in reader:
        decoded = decode_group(group, reader.header, StageClock())
        conditions = list(group_conditions(decoded.keys, decoded.motions, decoded.fine))
        first = 0
        for motion, length in decoded.motions:
            inside = conditions[first + 1 : first + length - 1]
            fields = [c.fields for c in inside if c.fields is not None]
            paths = sent_paths(motion, fields, reader.header.width, reader.header.height)
            begin = start + first - group.hide_head
            if len(paths.xy) and begin >= 0:
                segments.append({"first": begin, "length": length, **_plain(paths)})
            first += length - 1
        start += group.shown
    return {"segments": segments}


def _plain(paths: Paths) -> dict[str, Any]:
    return {
        "xy": [[[round(float(x), 1), round(float(y), 1)] for x, y in path] for path in paths.xy],
        "visible": paths.visible.astype(int).tolist(),
    }
