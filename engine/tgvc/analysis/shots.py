"""Shot cuts from small thumbnails: structure after motion search, plus a change of the colour distribution.

A cut replaces everything at once, so two independent signs are added up: blocks of the new picture that are found
nowhere near their place in the old one, and a different distribution of luma and chroma. Pans, zooms and moving objects
keep both, a change of light keeps the structure, water and confetti keep the distribution. A flash loses both for a
frame or two and then returns, so a change is settled only once the frames after it are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from tgvc.types import FloatArray, Picture, picture_planes

LUMA_SIZE = (64, 40)  # width and height of the luma thumbnail; chroma is half of it
BLOCK = 8
SEARCH = 8  # thumbnail px: a pan of 64 px per frame at width 512
STABILISER = 30.0  # grey levels squared: below this variance a block counts as flat
# The rest was set on the training clips plus water and faces: the largest score between neighbouring frames of one shot
# is 0.46 (ripples filling the picture), the smallest between frames of two different sources 0.59.
COLOUR_WEIGHT = 0.02  # per grey level of distribution change
COLOUR_LIMIT = 12.0  # more says nothing more, a change of exposure reaches it too
CUT_SCORE = 0.5
CUT_LUMA, CUT_CHROMA = 100.0, 40.0  # grey levels: a cut whatever the structure, for pictures that have none
SAME_LEVELS = 2.0  # mean difference in grey levels below which nothing can have been cut
FLASH_FRAMES = 2  # the longest interruption that is taken for a flash


@dataclass(frozen=True)
class Thumbnail:
    """What a frame is compared by: ``luma`` float32 (40, 64), ``chroma`` float32 (2, 20, 32), grey levels."""

    luma: FloatArray
    chroma: FloatArray


def make_thumbnail(picture: Picture) -> Thumbnail:
    """Area-averaged thumbnail of an I420 picture uint8 (3H/2, W); the aspect ratio is not kept. Source: own."""
    luma, *chroma = picture_planes(picture)
    half = (LUMA_SIZE[0] // 2, LUMA_SIZE[1] // 2)
    small = cv2.resize(luma, LUMA_SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
    colour = np.stack([cv2.resize(plane, half, interpolation=cv2.INTER_AREA) for plane in chroma]).astype(np.float32)
    return Thumbnail(small, colour)


def structure_change(previous: FloatArray, current: FloatArray) -> float:
    """How much of the current luma thumbnail is not found near its place in the previous one.

    Args:
        previous: float32 (40, 64), grey levels 0..255.
        current: The same for the later frame, searched block by block.

    Returns:
        Mean over the 8x8 blocks of 1 - (best structural similarity within the search range), 0 (all found) to 1. It
        ignores the mean of a block, and forgives a moderate change of its contrast. Source: own.
    """
    size = (BLOCK, BLOCK)
    mean = cv2.boxFilter(previous, -1, size, anchor=(0, 0))
    variance = np.maximum(cv2.boxFilter(previous * previous, -1, size, anchor=(0, 0)) - mean * mean, 0.0)
    width, height = LUMA_SIZE
    lost = 0.0
    for y in range(0, height, BLOCK):
        top, bottom = max(0, y - SEARCH), min(height, y + BLOCK + SEARCH)
        for x in range(0, width, BLOCK):
            left, right = max(0, x - SEARCH), min(width, x + BLOCK + SEARCH)
            block = current[y : y + BLOCK, x : x + BLOCK]
            block = block - block.mean()
            power = float(np.vdot(block, block)) / BLOCK**2
            covariance = cv2.matchTemplate(previous[top:bottom, left:right], block, cv2.TM_CCORR) / BLOCK**2
            spread = variance[top : bottom - BLOCK + 1, left : right - BLOCK + 1]
            likeness = (2 * covariance + STABILISER) / (spread + power + STABILISER)
            lost += 1.0 - float(likeness.max())
    return lost / (width * height // BLOCK**2)


def distribution_change(previous: FloatArray, current: FloatArray) -> float:
    """Earth mover's distance in grey levels between the values of two planes of equal size, wherever they lie."""
    return float(np.abs(np.sort(previous, axis=None) - np.sort(current, axis=None)).mean())


def is_change(previous: Thumbnail, current: Thumbnail) -> bool:
    """Whether two thumbnails look like different shots; a flash looks so too. Source: own."""
    if max(np.abs(previous.luma - current.luma).mean(), np.abs(previous.chroma - current.chroma).mean()) < SAME_LEVELS:
        return False
    luma = distribution_change(previous.luma, current.luma)
    chroma = sum(distribution_change(p, c) for p, c in zip(previous.chroma, current.chroma, strict=True))
    if luma >= CUT_LUMA or chroma >= CUT_CHROMA:
        return True
    colour = COLOUR_WEIGHT * (min(luma, COLOUR_LIMIT) + min(chroma, COLOUR_LIMIT))
    return structure_change(previous.luma, current.luma) + colour >= CUT_SCORE


def is_cut(previous: Picture, current: Picture) -> bool:
    """Whether a hard cut lies between two neighbouring pictures, judged by these two alone.

    Args:
        previous: uint8 (3H/2, W) I420 picture.
        current: The next picture of the video, same size.

    Returns:
        True for a hard cut, and for both edges of a flash: use `mark_cuts` where the frames after it are known.
    """
    return is_change(make_thumbnail(previous), make_thumbnail(current))


class ShotDetector:
    """Tells, frame by frame, which frames start a shot; a verdict comes at most two frames late.

    Push every picture in order, then call `finish`; the concatenated answers hold one bool per picture, in order. The
    first picture starts a shot. A change that is undone within ``FLASH_FRAMES`` frames is a flash and no cut.
    """

    def __init__(self) -> None:
        self._settled: Thumbnail | None = None
        self._pending: list[Thumbnail] = []

    def push(self, picture: Picture) -> list[bool]:
        """Take the next picture, uint8 (3H/2, W); return the verdicts that are settled now, oldest first."""
        return self._take(make_thumbnail(picture))

    def finish(self) -> list[bool]:
        """Return the verdicts still open at the end of the video and start afresh."""
        verdicts: list[bool] = []
        while self._pending:
            verdicts += self._cut_at_first_pending()
        self._settled = None
        return verdicts

    def _take(self, thumbnail: Thumbnail) -> list[bool]:
        if self._settled is None:
            self._settled = thumbnail
            return [True]
        if not is_change(self._settled, thumbnail):
            verdicts = [False] * (len(self._pending) + 1)
            self._settled, self._pending = thumbnail, []
            return verdicts
        self._pending.append(thumbnail)
        return self._cut_at_first_pending() if len(self._pending) > FLASH_FRAMES else []

    def _cut_at_first_pending(self) -> list[bool]:
        self._settled, *rest = self._pending
        self._pending = []
        verdicts = [True]
        for thumbnail in rest:
            verdicts += self._take(thumbnail)
        return verdicts


def mark_cuts(pictures: Iterable[Picture]) -> Iterator[tuple[Picture, bool]]:
    """Yield every picture with whether it starts a shot, in order, holding at most three pictures.

    Args:
        pictures: uint8 (3H/2, W) I420 pictures of one size.

    Yields:
        The picture and True where a shot starts (always for the first picture). Source: own.
    """
    detector, held = ShotDetector(), []
    for picture in pictures:
        held.append(picture)
        for verdict in detector.push(picture):
            yield held.pop(0), verdict
    yield from zip(held, detector.finish(), strict=True)
