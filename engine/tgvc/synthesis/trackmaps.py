"""Trajectories drawn as pictures, which networks look at: spots coloured by where they began, far ones first.

Source: ActDiff-VC's tracking video, after Diffusion as Shader. Differs: docs/parity.md, "Profile actdiff".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgvc.models.constants import MAPS
from tgvc.synthesis.densify import FrameFields
from tgvc.synthesis.paths import Paths, sent_paths
from tgvc.types import FloatArray, Motion

SPOT = (6, 4)  # px to either side of a point, across and down
_TAILS = (0.02, 0.98)  # quantiles of nearness that are black and full blue
_MIDDLE = 0.5  # blue where nothing is known about nearness


def draw_maps(paths: Paths, size: tuple[int, int], cell_px: int = 1, nearness: FloatArray | None = None) -> FloatArray:
    """Trajectories as coloured spots on black, at the size of the picture or averaged over latent cells.

    Args:
        paths: points of all frames in px; hidden ones are not drawn.
        size: width and height of the picture in px, multiples of ``cell_px``.
        cell_px: side of the cells that colours are averaged over.
        nearness: float32 (K,), larger is nearer to the camera; None: all are equally near. Where spots overlap, the
            nearer one is seen, among equals the later one.

    Returns:
        float32 (4, T, H / cell_px, W / cell_px), 0..1: red and green are the place in the first frame, across and down;
        blue the nearness between its outermost fiftieths; then how much of the cell is painted. Black counts in means.
    """
    count, frames = paths.visible.shape
    width, height = size
    colours = _colours(paths, size, nearness)
    order = np.arange(count) if nearness is None else np.argsort(nearness, kind="stable")
    places = np.rint(paths.xy).astype(np.int64)
    maps = np.zeros((MAPS, frames, height // cell_px, width // cell_px), np.float32)
    for n in range(frames):
        canvas = np.zeros((MAPS, height, width), np.float32)
        for k in order[paths.visible[order, n]]:
            x, y = places[k, n]
            rows = slice(max(y - SPOT[1], 0), max(y + SPOT[1] + 1, 0))
            canvas[:, rows, max(x - SPOT[0], 0) : max(x + SPOT[0] + 1, 0)] = colours[k, :, None, None]
        cells = canvas.reshape(MAPS, height // cell_px, cell_px, width // cell_px, cell_px)
        maps[:, n] = cells.mean(axis=(2, 4))
    return maps


def guess_nearness(paths: Paths) -> FloatArray:
    """How far each trajectory departs from what most do, float32 (K,) px: what is near to a moving camera moves most.

    The stand-in for a depth network at the decoder; a camera that stands still tells nothing of depth, and what moves
    in front of it is then drawn last too. Source: own.
    """
    if not len(paths.xy):
        return np.zeros(0, np.float32)
    moved = paths.xy - paths.xy[:, :1]
    apart = np.linalg.norm(moved - np.median(moved, axis=0), axis=-1) * paths.visible
    return np.asarray(apart.sum(axis=1) / np.maximum(paths.visible.sum(axis=1), 1), np.float32)


def segment_maps(
    motion: Motion | None, fields: Sequence[FrameFields], count: int, size: tuple[int, int], cell_px: int
) -> FloatArray:
    """Maps of the frames after a key picture up to and including the next one.

    Args:
        motion: of the segment; None for the first key picture of a group.
        fields: of the frames between the keys.
        count: frames that are wanted; without trajectories their maps are black.
        size: width and height of the picture in px.
        cell_px: side of a latent cell.

    Returns:
        float32 (4, count, H / cell_px, W / cell_px).
    """
    if motion is None or not fields or not len(motion.anchors):
        return np.zeros((MAPS, count, size[1] // cell_px, size[0] // cell_px), np.float32)
    paths = sent_paths(motion, fields, *size)
    return np.ascontiguousarray(draw_maps(paths, size, cell_px, guess_nearness(paths))[:, 1 : count + 1])


def _colours(paths: Paths, size: tuple[int, int], nearness: FloatArray | None) -> FloatArray:
    """Red, green, blue and one, float32 (K, 4)."""
    count = len(paths.xy)
    colours = np.ones((count, MAPS), np.float32)
    if not count:
        return colours
    last = np.asarray([size[0] - 1, size[1] - 1], np.float32)
    colours[:, :2] = np.clip(paths.xy[:, 0] / last, 0, 1)
    colours[:, 2] = _MIDDLE
    if nearness is not None:
        far, near = np.quantile(nearness, _TAILS)
        if near > far:
            colours[:, 2] = np.clip((nearness - far) / (near - far), 0, 1)
    return colours
