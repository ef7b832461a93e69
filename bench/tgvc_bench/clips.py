"""Clips as lists of I420 pictures: reading, hashing, Lanczos scaling."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tgvc.errors import ConfigError, VideoError
from tgvc.types import Picture, picture_size

SIZES = (Fraction(1), Fraction(3, 4), Fraction(1, 2), Fraction(1, 3), Fraction(1, 4))
_GRID = 8  # px: the sizes of scaled pictures are multiples of it
_SHORTEST = 64  # px: below it SVT-AV1 refuses


@dataclass(frozen=True)
class Clip:
    """A source: ``pictures`` uint8 (3H/2, W), ``fps`` per second, ``sha256`` of all their bytes in order."""

    path: Path
    pictures: list[Picture]
    fps: Fraction
    sha256: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px."""
        return picture_size(self.pictures[0])

    def bpp(self, size: int) -> float:
        """Bits per pixel of ``size`` bytes for this clip."""
        width, height = self.size
        return 8 * size / (width * height * len(self.pictures))


def read_clip(path: Path, frames: int) -> Clip:
    """The first ``frames`` pictures of a video file whose sides are multiples of 16 px.

    Raises:
        VideoError: The file cannot be read or holds no picture.
        ConfigError: The sides are no multiples of 16: scaling belongs to the codec, not to its measurement.
    """
    pictures: list[Picture] = []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            fps = Fraction(stream.average_rate or 25)
            for frame in container.decode(stream):
                pictures.append(np.ascontiguousarray(frame.to_ndarray(format="yuv420p")))
                if len(pictures) == frames:
                    break
    except (av.FFmpegError, IndexError, OSError) as error:
        raise VideoError(f"{path}: cannot be read as video: {error}") from error
    if not pictures:
        raise VideoError(f"{path}: holds no picture")
    width, height = picture_size(pictures[0])
    if width % 16 or height % 16:
        raise ConfigError(f"{path}: {width}x{height} px, expected multiples of 16; scale the clip first")
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(picture.tobytes())
    return Clip(path, pictures, fps, digest.hexdigest())


def list_sizes(width: int, height: int, fractions: Sequence[Fraction] | None = None) -> list[tuple[int, int]]:
    """The sizes a baseline may choose from: 1, 3/4, 1/2, 1/3, 1/4, sides rounded to multiples of 8, at least 64 px."""
    result = []
    for f in SIZES if fractions is None else fractions:
        size = (round(width * f / _GRID) * _GRID, round(height * f / _GRID) * _GRID)
        if f == 1 or min(size) >= _SHORTEST:
            result.append(size)
    return result


def scale(pictures: Sequence[Picture], width: int, height: int) -> list[Picture]:
    """Pictures of another size by swscale's Lanczos filter, uint8 (3H/2, W)."""
    if picture_size(pictures[0]) == (width, height):
        return list(pictures)
    scaler = av.video.reformatter.VideoReformatter()
    result: list[Picture] = []
    for picture in pictures:
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        scaled = scaler.reformat(frame, width, height, "yuv420p", interpolation="LANCZOS", threads=1)
        result.append(np.ascontiguousarray(scaled.to_ndarray(), np.uint8))
    return result
