"""What CoTracker's predictor makes of a clip: which points are followed, and which of what was found is believed."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from tgvc.errors import ConfigError
from tgvc.types import BoolArray, FloatArray

_MARGIN = 64  # parts of the width that grids stay off all borders
SUPPORT_GRID = 6


class PointFollower(Protocol):
    """What follows points; `tgvc.analysis.cotracker_clip.TrackedClip` is one."""

    length: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px of queries and tracks."""

    def follow(self, queries: FloatArray, *, backwards: bool = False) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Positions (T, K, 2) px, how visible and how confident (T, K) for queries (K, 3)."""


def make_grid(size: tuple[int, int], side: int) -> FloatArray:
    """Points float32 (side**2, 2) px, row by row, a 64th of the width off every border; one point is in the middle."""
    width, height = size
    margin = width / _MARGIN
    if side == 1:
        return np.array([[width / 2, height / 2]], np.float32)
    axes = (np.linspace(margin, length - margin, side) for length in (width, height))
    return np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2).astype(np.float32)


def keep_masked(points: FloatArray, mask: BoolArray, size: tuple[int, int]) -> FloatArray:
    """The points (K, 2) px that lie on a mask (H, W) of any size, which is stretched to ``size``."""
    rows, columns = (np.arange(n) * have // n for n, have in zip(size[::-1], mask.shape, strict=True))
    stretched = mask[rows][:, columns]
    places = np.rint(points).astype(np.int64)
    return np.asarray(points[stretched[places[:, 1], places[:, 0]]], np.float32)


def predict_queries(
    clip: PointFollower, queries: FloatArray, *, support: bool, backward: bool, threshold: float
) -> tuple[FloatArray, BoolArray]:
    """Follow points and judge what was found.

    Args:
        clip: whose points they are.
        queries: float32 (K, 3) frame, x, y in px of the clip's `size`.
        support: add a grid of 6 x 6 points of the first frame, so that few points have company; it is not given back.
        backward: follow a second time from the end, for the frames before a point's own.
        threshold: above which visibility a point is seen.

    Returns:
        Tracks float32 (T, K, 2) px and whether they are seen, bool (T, K). In the frame it was asked for, a point is
        where it was asked for and is seen. Source: CoTracker's predictor.

    Raises:
        ConfigError: a frame that the clip does not have, or no point.
    """
    count, frames = len(queries), queries[:, 0].astype(np.int64)
    if not count or frames.min() < 0 or frames.max() >= clip.length:
        raise ConfigError(
            f"queries: expected points in frames 0..{clip.length - 1}, got {count} in {np.unique(frames)}"
        )
    asked = np.asarray(queries, np.float32)
    if support:
        grid = make_grid(clip.size, SUPPORT_GRID)
        asked = np.concatenate([asked, np.concatenate([np.zeros((len(grid), 1), np.float32), grid], axis=1)])
    tracks, visible, _ = clip.follow(asked)
    if backward:
        turned = asked.copy()
        turned[:, 0] = clip.length - 1 - turned[:, 0]
        earlier, seen, _ = clip.follow(turned, backwards=True)
        before = np.arange(clip.length)[:, None] < asked[:, 0]
        tracks = np.where(before[..., None], earlier[::-1], tracks)
        visible = np.where(before, seen[::-1], visible)
    tracks, believed = tracks[:, :count].copy(), visible[:, :count] > np.float32(threshold)
    tracks[frames, np.arange(count)] = queries[:, 1:]
    believed[frames, np.arange(count)] = True
    return tracks, believed


def predict_grid(
    clip: PointFollower,
    side: int,
    *,
    frame: int = 0,
    mask: BoolArray | None = None,
    backward: bool,
    threshold: float,
) -> tuple[FloatArray, BoolArray]:
    """`predict_queries` for a grid of ``side`` x ``side`` points of one frame, those on a mask (H, W) if there is one.

    Company is added where a mask leaves fewer points.

    Raises:
        ConfigError: no point is left, or the clip has no such frame.
    """
    points = make_grid(clip.size, side)
    if mask is not None:
        points = keep_masked(points, mask, clip.size)
    queries = np.concatenate([np.full((len(points), 1), frame, np.float32), points], axis=1)
    return predict_queries(clip, queries, support=mask is not None, backward=backward, threshold=threshold)


def between_sizes(points: FloatArray, size: tuple[int, int], wanted: tuple[int, int]) -> FloatArray:
    """Points (..., 2) px of pictures of one (width, height) in those of another; corners stay corners."""
    ends = [(b - 1) / max(a - 1, 1) for a, b in zip(size, wanted, strict=True)]
    return np.asarray(points * np.asarray(ends, np.float32), np.float32)
