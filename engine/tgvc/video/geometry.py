"""Sizes and orientation: the working size of a source, and the turn that its metadata asks for."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np

from tgvc.errors import ConfigError
from tgvc.types import Picture, Plane, join_planes, picture_planes

GRID_PX = 16
SMALLEST_PX = 64
LARGEST_PX = 4096
DEFAULT_LIMIT = (512, 320)
_SANE_ASPECTS = (Fraction(1, 16), Fraction(16))  # outside this a sample aspect ratio is a broken header, not a picture


def working_size(source_width: int, source_height: int, limit: tuple[int, int] = DEFAULT_LIMIT) -> tuple[int, int]:
    """The size at which a source is coded when none is asked for.

    The largest size within ``limit`` that keeps the display aspect and does not enlarge, each side then rounded to the
    nearest multiple of 16 (halves up), at least 64.

    Args:
        source_width: width in px as a player shows it, at least 1.
        source_height: height in px as a player shows it, at least 1.
        limit: largest width and height in px, at least 64 each.

    Returns:
        Width and height in px, multiples of 16, 64..limit (the limit is taken down to a multiple of 16).

    Raises:
        ConfigError: a side is below 1 px or a limit below 64 px.

    Source: own.
    """
    if min(source_width, source_height) < 1:
        raise ConfigError(f"source size={source_width}x{source_height}: expected at least 1x1")
    if min(limit) < SMALLEST_PX:
        raise ConfigError(f"limit={limit[0]}x{limit[1]}: expected at least {SMALLEST_PX}x{SMALLEST_PX}")
    scale = min(Fraction(1), Fraction(limit[0], source_width), Fraction(limit[1], source_height))

    def snap(length: int, bound: int) -> int:
        nearest = int(length * scale / GRID_PX + Fraction(1, 2)) * GRID_PX
        return max(SMALLEST_PX, min(nearest, bound // GRID_PX * GRID_PX))

    return snap(source_width, limit[0]), snap(source_height, limit[1])


def check_working_size(size: tuple[int, int]) -> tuple[int, int]:
    """The working size that was asked for, if the codec can use it.

    Args:
        size: width and height in px.

    Returns:
        The same width and height.

    Raises:
        ConfigError: a side is not a multiple of 16 within 64..4096.
    """
    if len(size) != 2 or any(not isinstance(n, int) or n % GRID_PX or not SMALLEST_PX <= n <= LARGEST_PX for n in size):
        shown = "x".join(str(n) for n in size)
        raise ConfigError(f"size={shown}: expected multiples of {GRID_PX} from {SMALLEST_PX} to {LARGEST_PX}")
    return size


@dataclass(frozen=True)
class Orientation:
    """How stored pictures are turned to be shown: first transposed, then mirrored; all eight right-angle cases."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @classmethod
    def of_matrix(cls, matrix: tuple[int, ...]) -> Orientation:
        """The right-angle turn nearest to a display matrix.

        Args:
            matrix: the nine integers of ISO/IEC 14496-12 (a, b, u, c, d, v, x, y, w), which map a stored point to
                (a x + c y, b x + d y). Angles between the right ones go to the nearest.
        """
        a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
        if abs(a) >= abs(b):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @classmethod
    def of_angle(cls, degrees: float) -> Orientation:
        """The right-angle turn nearest to a rotation counter-clockwise, in degrees."""
        quarter = round(degrees / 90) % 4
        return (cls(), cls(True, False, True), cls(False, True, True), cls(True, True, False))[quarter]

    def shown_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after the turn of a picture stored as ``width`` x ``height``; its own inverse."""
        return (height, width) if self.transpose else (width, height)

    def turn(self, picture: Picture) -> Picture:
        """The turned picture, I420 uint8 (3H/2, W); both sides must be even."""
        if self == Orientation():
            return picture
        return join_planes(*(self._turn_plane(plane) for plane in picture_planes(picture)))

    def _turn_plane(self, plane: Plane) -> Plane:
        turned = plane.T if self.transpose else plane
        turned = turned[:, ::-1] if self.mirror_x else turned
        return np.ascontiguousarray(turned[::-1] if self.mirror_y else turned)


def frame_orientation(frame: av.VideoFrame) -> Orientation:
    """The turn that a frame's display matrix asks for."""
    try:
        entries: Any = frame.side_data  # declared as a mapping of names; by number it gives the entries
        matrices = [entries[i] for i in range(len(entries)) if entries[i].type.name == "DISPLAYMATRIX"]
    except ValueError:  # PyAV lists none of the side data if it does not know the kind of one
        return Orientation.of_angle(frame.rotation)
    return (
        Orientation.of_matrix(tuple(np.frombuffer(bytes(matrices[0]), np.int32).tolist()))
        if matrices
        else Orientation()
    )


def shown_size(width: int, height: int, sample_aspect: Fraction | None, orientation: Orientation) -> tuple[int, int]:
    """Size in px at which a player shows stored pictures: sample aspect applied to the width, then the turn.

    Args:
        width: stored width in px.
        height: stored height in px.
        sample_aspect: width of a sample over its height; None, zero and nonsense (beyond 16:1) count as square.
        orientation: the turn.
    """
    if sample_aspect is not None and _SANE_ASPECTS[0] <= sample_aspect <= _SANE_ASPECTS[1]:
        width = max(1, round(width * sample_aspect))
    return orientation.shown_size(width, height)
