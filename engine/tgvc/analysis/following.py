"""Every pixel of a key frame followed through the frames after it, as far as anyone asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from tgvc.analysis.coverage import Perceptual, Score, score_frame, splat_sources
from tgvc.analysis.flow import match_dense, pixel_grid
from tgvc.analysis.tracking import fill_hidden
from tgvc.opencv import one_cv_thread
from tgvc.types import BoolArray, FloatArray, Plane, TrackSet

ROUND_TRIP = 1.5  # px of the full size that a pixel may miss its start after going there and back


class Follower(Protocol):
    """Where the pixels of a key frame go."""

    def follow(self, start: int) -> Iterator[tuple[FloatArray, BoolArray]]:
        """For every frame after ``start``: places float32 (h, w, 2) px, and whether they can be seen, bool (h, w)."""
        ...


class Tracker(Protocol):
    """See `tgvc.analysis.cotracker.NetworkTracker`."""

    def track_segment(self, pictures: npt.NDArray[np.uint8]) -> TrackSet:
        """Tracks of a square grid of the first picture, then of one of the last."""
        ...


class FlowFollower:
    """Optical flow (DIS) from the key frame to each frame, begun with that to the frame before, checked there and back.

    Args:
        planes: luma of all frames, uint8 (h, w), possibly shrunk.
        shrink: full px per px of the planes.
    """

    def __init__(self, planes: Sequence[Plane], shrink: int) -> None:
        self._planes, self._miss = planes, ROUND_TRIP / shrink

    def follow(self, start: int) -> Iterator[tuple[FloatArray, BoolArray]]:
        """See `Follower`."""
        first = self._planes[start]
        height, width = first.shape
        grid = pixel_grid(height, width)
        there = back = np.zeros((height, width, 2), np.float32)
        for plane in self._planes[start + 1 :]:
            with one_cv_thread():
                matcher = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
                matcher.setFinestScale(1)
                there = match_dense(matcher, first, plane, there)
                back = match_dense(matcher, plane, first, back)
                places = np.asarray(grid + there, np.float32)
                missed = np.linalg.norm(places + _fetch(back, places) - grid, axis=-1)
            inside = (places >= 0).all(axis=-1) & (places <= (width - 1, height - 1)).all(axis=-1)
            yield places, np.asarray((missed < self._miss) & inside, np.bool_)


class NetworkFollower:
    """A network's tracks of a grid of points, and what lies between them by interpolation.

    Args:
        tracker: follows points of the first picture.
        levels: pictures from one number to before another, uint8 (T, H, W, 3) RGB.
        shrink: full px per px of the places that are told.
        longest: frames that are followed at most; they are looked at all at once.
    """

    def __init__(
        self,
        tracker: Tracker,
        levels: Callable[[int, int], npt.NDArray[np.uint8]],
        shrink: int,
        longest: int,
    ) -> None:
        self._tracker, self._levels, self._shrink, self._longest = tracker, levels, shrink, longest

    def follow(self, start: int) -> Iterator[tuple[FloatArray, BoolArray]]:
        """See `Follower`."""
        pictures = self._levels(start, start + self._longest)
        height, width = (side // self._shrink for side in pictures.shape[1:3])
        tracks = self._tracker.track_segment(pictures)
        side = math.isqrt(len(tracks.xy) // 2)  # the second half comes from the last picture
        xy = (tracks.xy[: side * side] + 0.5) / self._shrink - 0.5
        points = xy.reshape(side, side, len(pictures), 2)
        seen = tracks.visible[: side * side].reshape(side, side, len(pictures)).astype(np.float32)
        pixels = pixel_grid(height, width)
        first, step = points[0, 0, 0], (points[-1, -1, 0] - points[0, 0, 0]) / max(side - 1, 1)
        where = np.asarray((pixels - first) / step, np.float32)
        for n in range(1, len(pictures)):
            move = np.ascontiguousarray(points[:, :, n] - points[:, :, 0], np.float32)
            places = np.asarray(pixels + _fetch(move, where), np.float32)
            shown = _fetch(np.ascontiguousarray(np.repeat(seen[:, :, n, None], 2, axis=2)), where)[..., 0]
            inside = (places >= 0).all(axis=-1) & (places <= (width - 1, height - 1)).all(axis=-1)
            yield places, np.asarray((shown > 0.5) & inside, np.bool_)


class KeyScan:
    """What is known of the frames after one key frame; asked for frame by frame, and looked at only once.

    Args:
        follower: of the video that the key frame is of.
        pictures: what ``perceptual`` compares, float32 (h, w, C) of all frames, in the follower's size.
        start: number of the key frame.
        anchors: float32 (rows, columns, 2) px of the follower's size, points whose tracks are kept.
        perceptual: distance between pictures.
        parity: see `score_frame`.
    """

    def __init__(
        self,
        follower: Follower,
        pictures: Sequence[FloatArray],
        start: int,
        anchors: FloatArray,
        perceptual: Perceptual,
        *,
        parity: bool = False,
    ) -> None:
        self._pictures, self._start, self._anchors = pictures, start, anchors
        self._perceptual, self._parity = perceptual, parity
        self._frames = follower.follow(start)
        self._scores: list[Score] = []
        self._places: list[FloatArray] = [anchors]
        self._seen: list[BoolArray] = [np.ones(anchors.shape[:2], np.bool_)]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures in px."""
        height, width = self._pictures[self._start].shape[:2]
        return width, height

    def score(self, frame: int) -> Score:
        """Of a later frame, by its number in the video."""
        self._reach(frame - self._start)
        return self._scores[frame - self._start - 1]

    def tracks(self, length: int) -> TrackSet:
        """Tracks of the anchors, row by row, over ``length`` frames, in px of the follower's size.

        A point that is hidden for a single frame counts as seen, for the run would cost more than it says. Where a
        point is hidden, its place is interpolated.
        """
        self._reach(length - 1)
        xy = np.stack(self._places[:length], axis=2).reshape(-1, length, 2)
        seen = np.stack(self._seen[:length], axis=2).reshape(-1, length)
        if length > 2:
            seen[:, 1:-1] |= seen[:, :-2] & seen[:, 2:]
        return TrackSet(fill_hidden(xy, seen), seen)

    def _reach(self, steps: int) -> None:
        nearest = np.rint(self._anchors).astype(np.int64)
        while len(self._scores) < steps:
            places, seen = next(self._frames)
            key, frame = self._pictures[self._start], self._pictures[self._start + len(self._scores) + 1]
            sources = splat_sources(places, seen)
            self._scores.append(score_frame(key, frame, sources, self._perceptual, parity=self._parity))
            self._places.append(_fetch(places, self._anchors))
            self._seen.append(np.asarray(seen[nearest[..., 1], nearest[..., 0]], np.bool_))


def shrink_pictures(planes: Sequence[Plane], shrink: int) -> list[npt.NDArray[np.uint8]]:
    """Planes uint8 (H, W) at 1 / shrink of the size, by averaging."""
    height, width = planes[0].shape
    size = (width // shrink, height // shrink)
    with one_cv_thread():
        return [np.asarray(cv2.resize(p, size, interpolation=cv2.INTER_AREA), np.uint8) for p in planes]


def _fetch(field: FloatArray, places: FloatArray) -> FloatArray:
    """Bilinear values float32 (rows, columns, 2) of a field (h, w, 2) at places (rows, columns, 2) px."""
    with one_cv_thread():
        values = cv2.remap(field, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(values, np.float32)
