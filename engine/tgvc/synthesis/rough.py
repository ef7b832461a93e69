"""What the flow-driven painter is told of a frame: rough motion on cells of 8 px, trajectories there, its time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tgvc.synthesis.densify import FrameFields
from tgvc.synthesis.flow import CELL
from tgvc.synthesis.paths import Paths
from tgvc.types import FloatArray

CELL_PX = 8
SENT = 3


class Rough(NamedTuple):
    """Of N frames: ``to_first, to_last`` float32 (N, 2, h, w) cells; ``sent`` (N, 3, h, w); ``when`` (N, 2).

    ``sent``: mean displacement, in cells, of the trajectories in a cell to where they are in the first key picture, and
    1 where there are any. ``when``: share of the way to the last key picture, and 1 where there is one.
    """

    to_first: FloatArray
    to_last: FloatArray
    sent: FloatArray
    when: FloatArray


def describe_motion(fields: list[FrameFields], paths: Paths, *, open_end: bool) -> Rough:
    """What is told of the frames of a segment between its keys, or after its only one.

    Args:
        fields: of these N frames, on cells of `tgvc.synthesis.flow.CELL` px.
        paths: of the trajectories over the whole segment, its keys included.
        open_end: there is no last key picture; the first is told as both.
    """
    first, last = (
        np.stack([_coarse(field) for field in side])
        for side in ([f.to_first for f in fields], [f.to_last for f in fields])
    )
    height, width = first.shape[2:]
    sent = np.stack([_passing(paths, n, height, width) for n in range(1, len(fields) + 1)])
    when = np.zeros((len(fields), 2), np.float32)
    if not open_end:
        when[:, 0], when[:, 1] = np.arange(1, len(fields) + 1) / (len(fields) + 1), 1
    return Rough(first, last, sent, when)


def _coarse(field: FloatArray) -> FloatArray:
    """A field (h, w, 2) in cells of `CELL` px as means (2, h', w') in cells of 8 px."""
    share = CELL_PX // CELL
    height, width = field.shape[0] // share, field.shape[1] // share
    means = field[: height * share, : width * share].reshape(height, share, width, share, 2).mean(axis=(1, 3))
    return np.ascontiguousarray(means.transpose(2, 0, 1) / np.float32(share), np.float32)


def _passing(paths: Paths, frame: int, height: int, width: int) -> FloatArray:
    """Trajectories in one frame, float32 (3, h, w)."""
    found = np.zeros((SENT, height, width), np.float32)
    seen = paths.visible[:, frame]
    at, start = paths.xy[seen, frame], paths.xy[seen, 0]
    column, row = (np.floor(at[:, n] / CELL_PX).astype(np.int64) for n in (0, 1))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = row[inside], column[inside]
    np.add.at(found[2], place, 1)
    for axis in range(2):
        np.add.at(found[axis], place, (start - at)[inside, axis] / np.float32(CELL_PX))
    found[:2] /= np.maximum(found[2], 1)
    found[2] = np.minimum(found[2], 1)
    return found
