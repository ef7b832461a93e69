"""ActDiff-VC's test of how long a key frame lasts: its pixels are moved to a later frame and looked at there.

A frame fails if too little of it is covered, or if what covers it does not look like it. Three failures in a row end a
group of pictures at the first of them, so that a cut is never its last frame. Source: ActDiff-VC, section on adaptive
groups of pictures. Differs: docs/parity.md, "Profile actdiff".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from tgvc.types import BoolArray, FloatArray

FAILURES = 3  # in a row, that end a group of pictures
_GAUSSIAN = cv2.getGaussianKernel(7, 1.5).astype(np.float32)
_STABILISER = 30.0  # grey levels squared: below this variance both pictures count as flat
_SCALES = 2


class Score(NamedTuple):
    """What a frame shows of a key frame: share of its pixels that are covered, and how unlike they look, both 0..1."""

    coverage: float
    distance: float


@dataclass(frozen=True)
class Limits:
    """The least ``coverage`` and the largest ``distance`` with which a frame does not fail."""

    coverage: float
    distance: float

    def fails(self, score: Score) -> bool:
        """Whether a frame is too far from its key frame."""
        return score.coverage < self.coverage or score.distance > self.distance


class Perceptual(Protocol):
    """How unlike two pictures look, place by place; LPIPS in the original, whose weights everyone has to bring along.

    ``channels``: 1 for luma, 3 for RGB; ``compare`` is given float32 (h, w, channels) in 0..255. ``limit``: the mean
    distance with which a frame fails in the published code, 0.3 for LPIPS (AlexNet).
    """

    channels: int
    limit: float

    def compare(self, first: FloatArray, second: FloatArray) -> FloatArray:
        """Distance float32 (h, w), 0 for alike."""
        ...


class Structure:
    """The weight-free stand-in: how much of the local structure of luma is lost, at two scales.

    One minus the contrast and structure term of SSIM (Wang et al. 2004), cut at 0 and 1: it is 0 for equal pictures, 1
    for unrelated ones, and blind to a change of brightness. How its limits were set: docs/actdiff.md.
    """

    channels = 1
    limit = 0.12

    def compare(self, first: FloatArray, second: FloatArray) -> FloatArray:
        """See `Perceptual`."""
        height, width = first.shape[:2]
        a, b = first.reshape(height, width), second.reshape(height, width)
        total = np.zeros((height, width), np.float32)
        for _ in range(_SCALES):
            likeness = _likeness(a, b)
            total += cv2.resize(likeness, (width, height), interpolation=cv2.INTER_LINEAR)
            size = (max(1, a.shape[1] // 2), max(1, a.shape[0] // 2))
            a, b = (np.asarray(cv2.resize(p, size, interpolation=cv2.INTER_AREA), np.float32) for p in (a, b))
        return np.asarray(np.clip(1 - total / _SCALES, 0, 1), np.float32)


def splat_sources(places: FloatArray, usable: BoolArray, nearness: FloatArray | None = None) -> npt.NDArray[np.int64]:
    """Which pixel of a key frame covers each pixel of a later one.

    Args:
        places: float32 (h, w, 2), (x, y) in px to which each pixel of the key frame has moved.
        usable: bool (h, w), pixels that are moved at all.
        nearness: float32 (h, w): where several pixels meet, the nearest to the camera is kept, among equals the first
            in reading order; None: all are equally near.

    Returns:
        int64 (h, w): the index in reading order of the key's pixel, -1 where there is none.
    """
    height, width = usable.shape
    target = np.rint(places).astype(np.int64).reshape(-1, 2)
    inside = (target >= 0).all(axis=1) & (target[:, 0] < width) & (target[:, 1] < height)
    sources = np.flatnonzero(usable.ravel() & inside)[::-1]  # the last one written stays: the first goes last
    if nearness is not None:
        sources = sources[np.argsort(nearness.ravel()[sources], kind="stable")]
    covered = np.full(height * width, -1, np.int64)
    covered[target[sources, 1] * width + target[sources, 0]] = sources
    return covered.reshape(height, width)


def score_frame(
    key: FloatArray, frame: FloatArray, sources: npt.NDArray[np.int64], perceptual: Perceptual, *, parity: bool = False
) -> Score:
    """How well a frame is shown by the moved pixels of its key frame.

    Args:
        key: float32 (h, w, C), 0..255.
        frame: the later frame, same shape.
        sources: int64 (h, w), of `splat_sources`.
        perceptual: the distance, which decides C.
        parity: as the published code, black where nothing is covered and averaged over the whole picture, so that
            holes change the distance; else holes look right and only what is covered counts.
    """
    covered = sources >= 0
    share = float(covered.mean())
    if share == 0:
        return Score(0.0, 1.0)
    moved = key.reshape(-1, key.shape[2])[np.maximum(sources, 0)]
    if parity:
        mask = covered[..., None]
        return Score(share, float(perceptual.compare(moved * mask, frame * mask).mean()))
    filled = np.where(covered[..., None], moved, frame)
    return Score(share, float(perceptual.compare(np.asarray(filled, np.float32), frame)[covered].mean()))


def group_length(failed: Iterable[bool], longest: int, *, parity: bool = False) -> int:
    """Frames of a group of pictures, first and last key frame included.

    Args:
        failed: whether frame 1, 2, ... after the first one fails; asked for no further than needed.
        longest: frames at most.
        parity: a run of failures that the end of the video interrupts is let pass, as in the published code; else it
            ends the group too, so that a cut just before the end is no last frame either.

    Returns:
        The index of the first of three failures in a row, so that the last frame is the one before it; at least 2.
    """
    run = last = 0
    for n, bad in enumerate(failed, start=1):
        if n >= longest:
            break
        run, last = run + 1 if bad else 0, n
        if run == FAILURES:
            break
    if run == FAILURES or (run and not parity):
        return max(2, last + 1 - run)
    return last + 1


def cover_video(
    count: int, score: Callable[[int, int], Score], limits: Limits, longest: int, *, parity: bool = False
) -> tuple[int, ...]:
    """Key frames of a run of frames: every group of pictures begins with the last frame of the one before.

    Args:
        count: frames.
        score: of a key frame's number and that of a later frame, less than ``longest`` frames after it.
        limits: when a frame fails.
        longest: frames of a group at most, at least 2.
        parity: see `group_length`.

    Returns:
        Increasing, from 0 to the last frame. A cut costs two neighbouring key frames.
    """
    keys = [0]
    while keys[-1] < count - 1:
        start = keys[-1]
        failed = (limits.fails(score(start, n)) for n in range(start + 1, min(count, start + longest)))
        keys.append(min(start + group_length(failed, longest, parity=parity) - 1, count - 1))
    return tuple(keys)


def _likeness(a: FloatArray, b: FloatArray) -> FloatArray:
    """Contrast and structure term of SSIM, float32 (h, w), -1..1."""
    mean_a, mean_b = _blur(a), _blur(b)
    spread = _blur(a * a) - mean_a**2 + _blur(b * b) - mean_b**2
    return np.asarray((2 * (_blur(a * b) - mean_a * mean_b) + _STABILISER) / (spread + _STABILISER), np.float32)


def _blur(plane: FloatArray) -> FloatArray:
    return np.asarray(cv2.sepFilter2D(plane, -1, _GAUSSIAN, _GAUSSIAN, borderType=cv2.BORDER_REFLECT), np.float32)
